//! The simulated host as a machine, and the common path of every call to it.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio::{
    sync::{Mutex, broadcast},
    time::Instant,
};
use uuid::Uuid;

use super::{
    Content, Fault, Faults, SimHostState,
    content::Store,
    serial::OpenConsoles,
    state::{Pool, domain_of},
};
use crate::ports::{
    GuestStats, GuestSupport, HostCapacity, HostCare, HostChanges, HostFacts, HostPort, HostUuid,
    PortError, PortErrorKind, PortResult, VolumeKey,
};

const LATENCY: Duration = Duration::from_millis(1);

/// The content of a file that replaces a volume's.
const REPLACEMENT: &[u8] = b"somebody else's";

/// A call that a simulated host received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The call's name, such as `start`.
    pub name: &'static str,
    /// The object, such as `volume images/a.qcow2`; empty if no object is involved.
    pub object: String,
    /// Whether it may change something.
    pub effect: bool,
}

impl Call {
    pub(super) fn observe(name: &'static str, object: impl Into<String>) -> Self {
        Self {
            name,
            object: object.into(),
            effect: false,
        }
    }

    pub(super) fn act(name: &'static str, object: impl Into<String>) -> Self {
        Self {
            name,
            object: object.into(),
            effect: true,
        }
    }
}

#[derive(Clone, Copy)]
enum HostTime {
    /// Milliseconds since this instant; virtual under a paused clock.
    Since(Instant),
    /// The wall clock, which continues while no process runs.
    Wall,
}

pub(super) struct SimWorld {
    pub(super) state: SimHostState,
    faults: Faults,
    calls: Vec<Call>,
}

/// A simulated host. It implements all ports. Cheap to clone; a clone is the same host.
#[derive(Clone)]
pub struct SimHost {
    name: Arc<str>,
    time: HostTime,
    folder: Option<PathBuf>,
    pub(super) store: Store,
    pub(super) world: Arc<Mutex<SimWorld>>,
    changes: broadcast::Sender<Option<Uuid>>,
    pub(super) consoles: OpenConsoles,
    pinned: Arc<std::sync::Mutex<Option<String>>>,
    /// The only libvirt UUID of a host that is accepted, if any.
    pinned_uuid: Arc<std::sync::Mutex<Option<Uuid>>>,
}

/// Capacity of the channel of changes for a slow receiver.
const CHANGES: usize = 256;

/// The notifications of a simulated host: about domains that calls acted on, and about changes made
/// behind vsiflow's back.
struct LifecycleEvents {
    host: SimHost,
    changes: broadcast::Receiver<Option<Uuid>>,
}

#[async_trait]
impl HostChanges for LifecycleEvents {
    async fn next(&mut self) -> PortResult<Option<Uuid>> {
        use broadcast::error::RecvError;
        match self.changes.recv().await {
            Ok(change) => Ok(change),
            Err(RecvError::Lagged(_)) => Ok(None),
            Err(RecvError::Closed) => {
                let words = "the host is gone";
                Err(self.host.error(PortErrorKind::Unreachable, "", words))
            }
        }
    }
}

impl SimHost {
    pub(super) fn in_memory(name: &str) -> Self {
        let time = HostTime::Since(Instant::now());
        Self::new(
            name,
            time,
            None,
            Store::Memory(Arc::default()),
            SimHostState::new(),
        )
    }

    pub(super) async fn in_folder(name: &str, folder: PathBuf) -> PortResult<Self> {
        let store = Store::Folder(folder.clone());
        let file = state_file(&folder);
        let state = store.on(move |_| load(&folder)).await.map_err(|error| {
            let words = format!("{}: {error}", file.display());
            PortError::new(PortErrorKind::Other, name, "simulated host", words)
        })?;
        let Store::Folder(root) = &store else {
            return Ok(Self::in_memory(name));
        };
        Ok(Self::new(
            name,
            HostTime::Wall,
            Some(root.clone()),
            store,
            state,
        ))
    }

    fn new(
        name: &str,
        time: HostTime,
        folder: Option<PathBuf>,
        store: Store,
        state: SimHostState,
    ) -> Self {
        let world = SimWorld {
            state,
            faults: Faults::none(),
            calls: Vec::new(),
        };
        Self {
            name: name.into(),
            time,
            folder,
            store,
            world: Arc::new(Mutex::new(world)),
            changes: broadcast::channel(CHANGES).0,
            consoles: OpenConsoles::default(),
            pinned: Arc::default(),
            pinned_uuid: Arc::default(),
        }
    }

    /// Reads the host's state, or changes it behind vsiflow's back.
    pub async fn with<T>(&self, change: impl FnOnce(&mut SimHostState) -> T) -> T {
        let mut world = self.world.lock().await;
        world.state.advance(self.now());
        let result = change(&mut world.state);
        world.state.changed(None);
        let _ = self.changes.send(None);
        result
    }

    /// Whether a guest runs; not counted as a call.
    pub(super) async fn runs(&self, uuid: Uuid) -> bool {
        let mut world = self.world.lock().await;
        world.state.advance(self.now());
        let domain = world.state.domains.get(&uuid);
        domain.is_some_and(|domain| domain.live.is_some())
    }

    /// Sets the faults of the calls to come.
    pub async fn set_faults(&self, faults: Faults) {
        self.world.lock().await.faults = faults;
    }

    /// The calls received so far, in order.
    pub async fn calls(&self) -> Vec<Call> {
        self.world.lock().await.calls.clone()
    }

    /// How many calls of that name were received.
    pub async fn count(&self, name: &str) -> usize {
        self.world
            .lock()
            .await
            .calls
            .iter()
            .filter(|call| call.name == name)
            .count()
    }

    /// The host's clock in milliseconds.
    pub(super) fn now(&self) -> u64 {
        let since = match self.time {
            HostTime::Since(start) => start.elapsed(),
            HostTime::Wall => std::time::UNIX_EPOCH.elapsed().unwrap_or_default(),
        };
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    pub(super) fn error(&self, kind: PortErrorKind, object: &str, words: &str) -> PortError {
        PortError::new(kind, &*self.name, object, words)
    }

    /// The common path of every call: records it, applies its fault, and persists its changes before it
    /// returns.
    pub(super) async fn call<T>(
        &self,
        call: Call,
        work: impl FnOnce(&mut SimHostState, u64) -> PortResult<T>,
    ) -> PortResult<T> {
        if matches!(self.time, HostTime::Since(_)) {
            tokio::time::sleep(LATENCY).await;
        }
        let mut world = self.world.lock().await;
        world.calls.push(call.clone());
        let next_fault = world.faults.next(call.name);
        let fault = next_fault.or_else(|| world.state.broken.get(call.name).copied());
        let now = self.now();
        world.state.advance(now);
        self.before(&call, fault, &mut world.state)?;
        let result = work(&mut world.state, now);
        let starts = ["start", "start_saved"].contains(&call.name);
        if fault == Some(Fault::DaemonDies) && starts && result.is_ok() {
            world.state.interrupt_start(&call.object, now);
        }
        if let Some(uuid) = domain_of(&call.object) {
            world.state.changed(Some(uuid));
        }
        // Persisting the length of an upload in progress after each piece would cost too many syncs.
        if call.effect && result.is_ok() && call.name != "send" {
            self.persist(&world.state).await?;
        }
        if call.effect && result.is_ok() {
            self.notify(&call.object);
        }
        if fault == Some(Fault::Overwritten) {
            overwrite(&mut world.state, &call);
        }
        match fault {
            Some(Fault::LostReply | Fault::DaemonDies) if result.is_ok() => {
                let words = "the connection was lost before the answer came";
                Err(self.error(PortErrorKind::OutcomeUnknown, &call.object, words))
            }
            _ => result,
        }
    }

    fn notify(&self, object: &str) {
        if let Some(uuid) = domain_of(object) {
            let _ = self.changes.send(Some(uuid));
        }
    }

    fn before(
        &self,
        call: &Call,
        fault: Option<Fault>,
        state: &mut SimHostState,
    ) -> PortResult<()> {
        let fail = |kind, words: &str| Err(self.error(kind, &call.object, words));
        let pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        if pinned.is_some() && *pinned != state.machine {
            return fail(PortErrorKind::OtherMachine, "it is another machine");
        }
        drop(pinned);
        let pinned_uuid = self
            .pinned_uuid
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if pinned_uuid.is_some() && *pinned_uuid != state.uuid {
            return fail(PortErrorKind::OtherMachine, "libvirt names another machine");
        }
        drop(pinned_uuid);
        match fault {
            Some(Fault::Unreachable) => fail(PortErrorKind::Unreachable, "connection refused"),
            Some(Fault::Timeout) => fail(PortErrorKind::Timeout, "the call was not sent in time"),
            Some(Fault::Busy) if call.effect => fail(
                PortErrorKind::Busy,
                "the pool has asynchronous jobs running",
            ),
            Some(Fault::NoSpace) if call.effect => {
                fail(PortErrorKind::NoSpace, "No space left on device")
            }
            Some(Fault::Unconvertible) if call.effect => fail(
                PortErrorKind::Rejected,
                "qemu-img: error while reading: Input/output error",
            ),
            Some(Fault::CutStream) => fail(PortErrorKind::OutcomeUnknown, "the stream was cut"),
            Some(Fault::HostRestart) => {
                state.restart();
                fail(PortErrorKind::Unreachable, "the host has restarted")
            }
            Some(Fault::DiskError) => {
                if let Some((pool, name)) = pool_of(state, call) {
                    let volume = pool.volumes.get_mut(name);
                    volume.into_iter().for_each(|v| v.unwritten = true);
                }
                fail(PortErrorKind::Other, "Input/output error")
            }
            Some(Fault::VanishVolume) => {
                if let Some((pool, name)) = pool_of(state, call) {
                    pool.volumes.remove(name);
                }
                Ok(())
            }
            Some(Fault::Replaced) => {
                if let Some((pool, name)) = pool_of(state, call)
                    && let Some(volume) = pool.volumes.get_mut(name)
                {
                    volume.content = Content::Inline(REPLACEMENT.to_vec());
                }
                Ok(())
            }
            Some(Fault::OtherPoolsToggle) => {
                let pools = state.pools.iter_mut();
                pools
                    .filter(|(name, _)| call.object != format!("pool {name}"))
                    .for_each(|(_, pool)| pool.active = !pool.active);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn persist(&self, state: &SimHostState) -> PortResult<()> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        let bytes = serde_json::to_vec(state);
        let written = self.store.on(move |_| {
            let new = folder.join("state.json.new");
            std::fs::write(&new, bytes?)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, state_file(&folder))
        });
        written
            .await
            .map_err(|e| self.store_error("simulated host", &e))
    }

    pub(super) fn store_error(&self, object: &str, error: &io::Error) -> PortError {
        self.error(PortErrorKind::Other, object, &error.to_string())
    }
}

fn state_file(folder: &std::path::Path) -> PathBuf {
    folder.join("state.json")
}

fn load(folder: &std::path::Path) -> io::Result<SimHostState> {
    std::fs::create_dir_all(folder)?;
    match std::fs::read(state_file(folder)) {
        Ok(bytes) => Ok(with_lengths(serde_json::from_slice(&bytes)?, folder)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(SimHostState::new()),
        Err(error) => Err(error),
    }
}

/// Updates the lengths of volumes. The length of an upload in progress is not persisted, so after a crash
/// the file's length in the store counts.
fn with_lengths(mut state: SimHostState, folder: &std::path::Path) -> SimHostState {
    let pools = state.pools.values_mut();
    let volumes = pools.flat_map(|pool| pool.volumes.values_mut());
    for volume in volumes.filter(|volume| !volume.synced && volume.busy_until == 0) {
        if let Content::Stored { id, len, .. } = &mut volume.content {
            *len = Store::length(folder, *id).unwrap_or(0).max(*len);
        }
    }
    state
}

/// A volume's name in errors and in the log of calls.
pub(super) fn object(key: &VolumeKey) -> String {
    format!("volume {key}")
}

#[async_trait]
impl HostPort for SimHost {
    fn name(&self) -> &str {
        &self.name
    }

    async fn facts(&self) -> PortResult<HostFacts> {
        self.call(Call::observe("facts", ""), |state, _| {
            Ok(HostFacts {
                hostname: self.name.to_string(),
                libvirt_version: "9.0.0-simulated".to_owned(),
                boot_id: state
                    .shell
                    .then(|| format!("simulated-boot-{}", state.boots)),
                shell: state.shell,
            })
        })
        .await
    }

    async fn machine(&self) -> PortResult<Option<String>> {
        self.call(Call::observe("machine", ""), |state, _| {
            Ok(state.machine.clone())
        })
        .await
    }

    fn pin(&self, machine: Option<&str>) {
        let mut pinned = self.pinned.lock().unwrap_or_else(PoisonError::into_inner);
        *pinned = machine.map(str::to_owned);
    }

    async fn uuid(&self) -> PortResult<Option<HostUuid>> {
        self.call(Call::observe("uuid", ""), |state, _| {
            let daemon = state.shell.then(|| {
                let (boots, starts) = (state.boots, state.daemon_starts);
                format!("simulated-daemon-{boots}-{starts}")
            });
            Ok(state.uuid.map(|uuid| HostUuid { uuid, daemon }))
        })
        .await
    }

    fn pin_uuid(&self, uuid: Option<Uuid>) {
        let mut pinned = self
            .pinned_uuid
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *pinned = uuid;
    }

    async fn guest_support(&self, arch: &str) -> PortResult<Option<GuestSupport>> {
        self.call(Call::observe("guest_support", arch), |state, _| {
            Ok(state
                .guests
                .iter()
                .find(|guest| guest.arch == arch)
                .cloned())
        })
        .await
    }

    async fn capacity(&self) -> PortResult<Option<HostCapacity>> {
        self.call(Call::observe("capacity", ""), |state, _| {
            Ok(state.capacity())
        })
        .await
    }

    async fn guest_stats(&self) -> PortResult<Option<Vec<GuestStats>>> {
        self.call(Call::observe("guest_stats", ""), |state, now| {
            Ok(Some(state.guest_stats(now)))
        })
        .await
    }

    async fn care(&self) -> PortResult<Option<HostCare>> {
        self.call(Call::observe("care", ""), |state, _| {
            Ok(state.shell.then(HostCare::default))
        })
        .await
    }

    async fn changes(&self) -> PortResult<Option<Box<dyn HostChanges>>> {
        let (host, changes) = (self.clone(), self.changes.subscribe());
        self.call(Call::observe("changes", ""), |_, _| Ok(()))
            .await?;
        Ok(Some(Box::new(LifecycleEvents { host, changes })))
    }
}

fn overwrite(state: &mut SimHostState, call: &Call) {
    let change = state.change();
    if let Some((pool, name)) = pool_of(state, call)
        && let Some(volume) = pool.volumes.get_mut(name)
    {
        volume.content.lose_tail();
        volume.modified = change;
    }
}

/// The pool and the name of the volume that a call names.
fn pool_of<'a, 'b>(state: &'a mut SimHostState, call: &'b Call) -> Option<(&'a mut Pool, &'b str)> {
    let (pool, name) = call.object.strip_prefix("volume ")?.split_once('/')?;
    Some((state.pools.get_mut(pool)?, name))
}
