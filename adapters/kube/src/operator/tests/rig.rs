//! Test rig: a fleet on simulated hosts in memory, and the fake API server that it serves.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::{task::JoinHandle, time::Instant};
use vsiflow_engine::{
    blob::{Blobs, MemoryBlobs},
    checkpoint::MemoryCheckpoints,
    clock::Clock,
    executor::{By, Tuning},
    journal::{JournalError, MemoryJournal},
    lease::Lease,
    model::{self, Hash, Payload},
    room::Room,
    secret::{HeldSecrets, MemorySecrets, Secrets},
};
use vsiflow_steps::{
    ports::{
        ConsoleChunk, ConsolePort, ConsolePosition, HostPorts, Hosts, PortError, PortErrorKind,
        PortResult, VolumeKey,
    },
    sim::{SimHost, SimHosts, SimSource},
};
use vsiflow_workflows::{
    fleet::{Fleet, FleetConfig, FleetError, SeenSchedules, ShutdownPolicy, SnapshotObject},
    hosts::HostDirectory,
    record::PowerAction,
    spec::{HostSettings, NoFiles, Permits},
};

use crate::{
    LostJournal, Namespaces, Operator, OperatorEnd, fake::FakeServer, sample::uid,
    subresources::Subresources,
};

/// Longer than anything here takes in virtual time.
pub(super) const DEADLINE: Duration = Duration::from_secs(7_200);
const HOST: &str = "sim:a";

/// Virtual time, beginning in 2027. Tests may set its wall clock.
pub(super) struct VirtualClock {
    start: Instant,
    off_ms: AtomicI64,
}

impl VirtualClock {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            off_ms: AtomicI64::new(0),
        }
    }

    /// Sets the wall clock forwards, or backwards.
    pub(super) fn jump(&self, ms: i64) {
        self.off_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

#[async_trait]
impl Clock for VirtualClock {
    fn now(&self) -> model::Timestamp {
        let elapsed = i64::try_from(self.start.elapsed().as_millis()).unwrap();
        let wall = 1_800_000_000_000 + elapsed + self.off_ms.load(Ordering::Relaxed);
        model::Timestamp(u64::try_from(wall).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// The simulated hosts, and whether they can be reached.
pub(super) struct Switched {
    pub(super) hosts: SimHosts,
    reachable: AtomicBool,
    /// Hosts that cannot be reached although others can.
    silent: Mutex<BTreeSet<String>>,
    /// How late hosts answer who reads a console log.
    slow_consoles: Arc<Mutex<BTreeMap<String, Duration>>>,
    /// Whether connecting to a host panics.
    panicking: AtomicBool,
}

/// The console logs of a host that may answer late.
struct SlowConsole {
    host: String,
    console: Arc<dyn ConsolePort>,
    slow: Arc<Mutex<BTreeMap<String, Duration>>>,
}

impl SlowConsole {
    async fn delay(&self) {
        let late = self.slow.lock().unwrap().get(&self.host).copied();
        tokio::time::sleep(late.unwrap_or_default()).await;
    }
}

#[async_trait]
impl ConsolePort for SlowConsole {
    async fn read(
        &self,
        log: &VolumeKey,
        position: ConsolePosition,
        max: u64,
    ) -> PortResult<ConsoleChunk> {
        self.delay().await;
        self.console.read(log, position, max).await
    }

    async fn end(&self, log: &VolumeKey) -> PortResult<ConsolePosition> {
        self.delay().await;
        self.console.end(log).await
    }
}

impl Switched {
    /// Hosts that all answer.
    pub(super) fn reachable() -> Self {
        Self {
            hosts: SimHosts::in_memory(),
            reachable: AtomicBool::new(true),
            silent: Mutex::default(),
            slow_consoles: Arc::default(),
            panicking: AtomicBool::new(false),
        }
    }
}

#[async_trait]
impl Hosts for Switched {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        let panicking = self.panicking.load(Ordering::Relaxed);
        assert!(!panicking, "the test asked for it");
        let silent = self.silent.lock().unwrap().contains(id);
        if self.reachable.load(Ordering::Relaxed) && !silent {
            let ports = self.hosts.host(id).await?;
            let console = Arc::new(SlowConsole {
                host: id.to_owned(),
                console: ports.console,
                slow: self.slow_consoles.clone(),
            });
            Ok(HostPorts { console, ..ports })
        } else {
            Err(PortError::new(
                PortErrorKind::Unreachable,
                id,
                "",
                "no route",
            ))
        }
    }
}

/// The state that survives a process.
#[derive(Clone, Default)]
pub(super) struct RigStores {
    journal: Arc<MemoryJournal>,
    checkpoints: Arc<MemoryCheckpoints>,
    blobs: Arc<Counted>,
    /// The secrets, if they outlive a process as those in a database do.
    secrets: Option<Arc<MemorySecrets>>,
}

impl RigStores {
    /// The stores of a journal in a database.
    pub(super) fn of_database() -> Self {
        Self {
            secrets: Some(Arc::default()),
            ..Self::default()
        }
    }
}

/// Blobs, and how many payloads were read: the one of a document is among them.
#[derive(Default)]
struct Counted {
    blobs: MemoryBlobs,
    read: AtomicUsize,
}

#[async_trait]
impl Blobs for Counted {
    async fn put_blob(&self, bytes: &[u8]) -> Result<Payload, JournalError> {
        self.blobs.put_blob(bytes).await
    }

    async fn get_blob(&self, hash: Hash, len: u64) -> Result<Vec<u8>, JournalError> {
        self.blobs.get_blob(hash, len).await
    }

    async fn get(&self, payload: &Payload) -> Result<Vec<u8>, JournalError> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.blobs.get(payload).await
    }
}

pub(super) struct Rig {
    pub(super) server: FakeServer,
    stores: RigStores,
    hosts: Arc<Switched>,
    clock: Arc<VirtualClock>,
    pub(super) fleet: Fleet,
    serving: JoinHandle<OperatorEnd>,
    pub(super) subresources: Subresources,
    /// How many journals were lost.
    lost: u32,
    pub(super) if_lost: LostJournal,
    /// The host that every VSI lives on, whatever resources say.
    host: Option<&'static str>,
    pub(super) permits: Arc<dyn Permits>,
}

impl Rig {
    pub(super) async fn new() -> Self {
        Self::on(Some(HOST)).await
    }

    /// Serves the namespaces `default` and `b`; each resource is on the host that it selects.
    pub(super) async fn of_tenants() -> Self {
        Self::on(None).await
    }

    /// One namespace with these hosts, each with the labels `fleet: blue` and its name.
    pub(super) async fn with_hosts(names: &[&str]) -> Self {
        let rig = Self::of_tenants().await;
        for (number, name) in (101..).zip(names) {
            let map = json!({
                "metadata": {"labels": {"fleet": "blue", "host": name}},
                "data": {
                    "HOSTNAME": format!("{name}.example.com"),
                    "KNOWN_HOSTS": format!("h ssh-ed25519 {number}"),
                },
            });
            rig.server.apply("configmaps", name, uid(number), map);
        }
        rig
    }

    async fn on(host: Option<&'static str>) -> Self {
        let server = FakeServer::new();
        let stores = RigStores::default();
        let hosts = Arc::new(Switched::reachable());
        let clock = Arc::new(VirtualClock::new());
        let fleet = open(&stores, &hosts, &clock, 0).await;
        let permits = Arc::new(NoFiles);
        let (serving, subresources) =
            serve(&server, &fleet, LostJournal::Wait, host, permits.clone());
        Self {
            server,
            stores,
            hosts,
            clock,
            fleet,
            serving,
            subresources,
            lost: 0,
            if_lost: LostJournal::Wait,
            host,
            permits,
        }
    }

    /// The result of serving.
    pub(super) async fn ended(&mut self) -> OperatorEnd {
        (&mut self.serving).await.unwrap()
    }

    /// A user in the pod of the process drains a host.
    pub(super) async fn drain(&self, host: &str) {
        let drained = self.fleet.hosts().drain_moving(host, None, by_command());
        drained.await.unwrap();
    }

    /// A user in the pod of the process lets a host take VSIs again.
    pub(super) async fn uncordon(&self, host: &str) {
        let uncordoned = self.fleet.hosts().uncordon(host, true, by_command());
        uncordoned.await.unwrap();
    }

    /// A user in the pod of the process deletes a VSI.
    pub(super) async fn delete_by_command(&self, name: &str) {
        let deleted = self
            .fleet
            .vsis()
            .delete("default", name, false, by_command());
        deleted.await.unwrap();
    }

    /// A user in the pod of the process starts a VSI.
    pub(super) async fn start_by_command(&self, name: &str) {
        let (action, how) = (PowerAction::Start, ShutdownPolicy::default());
        let vsis = self.fleet.vsis();
        let started = vsis.power("default", name, action, how, by_command());
        started.await.unwrap();
    }

    /// A user in the pod of the process pauses all work, or ends the pause.
    pub(super) fn pause(
        &self,
        is_paused: bool,
    ) -> impl Future<Output = Result<(), String>> + 'static {
        let fleet = self.fleet.clone();
        async move {
            let paused = fleet.set_global_pause(is_paused, by_command()).await;
            paused.map_err(|error| error.to_string())
        }
    }

    /// Takes the snapshots that are due, as the daemon does every few seconds.
    pub(super) async fn apply_schedules(
        &self,
        seen: &mut SeenSchedules,
    ) -> Result<Vec<SnapshotObject>, FleetError> {
        self.fleet.snapshots().apply_schedules(seen).await?;
        self.fleet.snapshots().list(true).await
    }

    /// The wall clock of the process.
    pub(super) fn clock(&self) -> &VirtualClock {
        &self.clock
    }

    /// Whether no run is in progress.
    pub(super) fn is_idle(&self) -> bool {
        self.fleet.working().is_empty()
    }

    /// A user in the pod of the process deletes a data disk.
    pub(super) async fn delete_disk_by_command(&self, name: &str) {
        let deleted = self
            .fleet
            .disks()
            .delete("default", name, false, by_command());
        deleted.await.unwrap();
    }

    /// A user in the pod of the process deletes a VSI by its UID.
    pub(super) async fn delete_vsi(&self, uid: uuid::Uuid) {
        let by = By {
            actor: model::Actor::Engine,
            reason: model::Text::new("it has no resource any more"),
        };
        let vsis = self.fleet.vsis();
        vsis.delete("default", &uid.to_string(), false, by)
            .await
            .unwrap();
    }

    /// What is known of a host.
    pub(super) fn settings(&self, host: &str) -> Option<HostSettings> {
        self.fleet.hosts().settings(host).ok()
    }

    /// The simulated hosts.
    pub(super) fn all_hosts(&self) -> Arc<Switched> {
        self.hosts.clone()
    }

    /// The process dies.
    pub(super) async fn stop(&self) {
        self.serving.abort();
        self.fleet.close().await;
    }

    /// The process dies, and another one replaces it.
    pub(super) async fn restart(&mut self) {
        self.stop().await;
        self.fleet = open(&self.stores, &self.hosts, &self.clock, self.lost).await;
        let permits = self.permits.clone();
        (self.serving, self.subresources) =
            serve(&self.server, &self.fleet, self.if_lost, self.host, permits);
    }

    /// The same with an empty state directory.
    pub(super) async fn lose_journal(&mut self) {
        self.stores = RigStores::default();
        self.lost += 1;
        self.restart().await;
    }

    pub(super) fn vsi(&self, name: &str, number: u8) {
        self.vsi_with(name, number, json!({}));
    }

    pub(super) fn vsi_with(&self, name: &str, number: u8, spec: Value) {
        let mut all = json!({
            "contract": "env: |\n  type: env\nworkload: |\n  type: workload\n",
            "imageURL": "http://images.lab.test:8080/hpcr-guest.qcow2",
        });
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        self.server
            .apply("onprem-hpcrs", name, uid(number), json!({"spec": all}));
    }

    pub(super) fn disk(&self, name: &str, number: u8) {
        let rest = json!({"metadata": {"labels": {"disk": name}}, "spec": {"size": 1 << 20}});
        self.server
            .apply("onprem-datadisks", name, uid(number), rest);
    }

    pub(super) fn status(&self, name: &str) -> Value {
        let object = self.server.get("onprem-hpcrs", name).unwrap_or_default();
        object["status"].clone()
    }

    pub(super) fn condition(&self, name: &str, condition: &str) -> Value {
        let status = self.status(name);
        let all = status["conditions"].as_array().cloned().unwrap_or_default();
        let found = all.into_iter().find(|one| one["type"] == condition);
        found.unwrap_or_default()
    }

    pub(super) fn finalizers(&self, name: &str) -> Vec<String> {
        finalizers(self.server.get("onprem-hpcrs", name))
    }

    pub(super) fn disk_finalizers(&self, name: &str) -> Vec<String> {
        finalizers(self.server.get("onprem-datadisks", name))
    }

    /// The reasons of all Events.
    pub(super) fn reasons(&self) -> Vec<String> {
        let events = self.server.all("events");
        events
            .iter()
            .map(|event| event["reason"].as_str().unwrap().to_owned())
            .collect()
    }

    /// How many runs of VSIs there were.
    pub(super) fn runs(&self) -> usize {
        let runs = self.fleet.history().runs();
        runs.iter()
            .filter(|run| run.entity.starts_with("vsi/"))
            .count()
    }

    /// Makes every connection to a host panic.
    pub(super) fn panic_at_hosts(&self, panicking: bool) {
        self.hosts.panicking.store(panicking, Ordering::Relaxed);
    }

    /// Scans all hosts; returns the errors of those that could not be scanned.
    pub(super) async fn look(&self) -> Vec<String> {
        let looked = self.fleet.hosts().scan(true).await.unwrap();
        let failed = looked.unreachable.into_iter();
        failed
            .map(|(_, failure)| failure.message.as_str().to_owned())
            .collect()
    }

    pub(super) async fn domains(&self) -> Vec<String> {
        let host = self.hosts.hosts.sim(HOST).await.unwrap();
        host.with(|state| state.domains.keys().map(ToString::to_string).collect())
            .await
    }

    /// When each guest was started, and on which boot disk: only this shows a rebuild.
    pub(super) async fn guests(&self) -> Vec<(String, u64)> {
        let host = self.hosts.hosts.sim(HOST).await.unwrap();
        host.with(|state| {
            let guests = state.domains.iter();
            guests
                .map(|(uid, one)| (uid.to_string(), one.live.as_ref().unwrap().started))
                .collect()
        })
        .await
    }

    /// How many volumes of data disks there are.
    pub(super) async fn volumes(&self) -> usize {
        let host = self.hosts.hosts.sim(HOST).await.unwrap();
        host.with(|state| {
            let pools = state.pools.values();
            let names = pools.flat_map(|pool| pool.volumes.keys());
            names
                .filter(|name| name.parse::<uuid::Uuid>().is_ok())
                .count()
        })
        .await
    }

    /// A simulated host.
    pub(super) async fn sim(&self, host: &str) -> Arc<SimHost> {
        self.hosts.hosts.sim(host).await.unwrap()
    }

    /// Makes this host answer or not, whatever other hosts do.
    pub(super) fn host_silent(&self, host: &str, is_silent: bool) {
        let mut silent = self.hosts.silent.lock().unwrap();
        if is_silent {
            silent.insert(host.to_owned());
        } else {
            silent.remove(host);
        }
    }

    /// Makes this host answer so late who reads a console log there.
    pub(super) fn slow_console(&self, host: &str, late: Duration) {
        let mut slow = self.hosts.slow_consoles.lock().unwrap();
        slow.insert(host.to_owned(), late);
    }

    /// A user in the pod of the process scans all hosts, and retries what is stuck.
    pub(super) async fn retry_all(&self) {
        let by = || By {
            actor: model::Actor::Engine,
            reason: model::Text::new("the test"),
        };
        let _ = self.fleet.hosts().scan(true).await;
        for entity in self.fleet.unsettled(None).await.unwrap() {
            let _ = self.fleet.retry(entity, by()).await;
        }
    }

    /// Makes the host's domains look as another program created them.
    pub(super) async fn unmark(&self) {
        let host = self.hosts.hosts.sim(HOST).await.unwrap();
        host.with(|state| state.domains.values_mut().for_each(|one| one.mark = None))
            .await;
    }

    pub(super) fn host_reachable(&self, reachable: bool) {
        self.hosts.reachable.store(reachable, Ordering::Relaxed);
    }

    pub(super) async fn until_ready(&self, name: &str) {
        let what = format!("{name} is ready");
        self.until(&what, || self.condition(name, "Ready")["status"] == "True")
            .await;
    }

    pub(super) async fn until(&self, what: &str, mut ready: impl FnMut() -> bool) {
        let begun = Instant::now();
        while !ready() {
            let mut all = self.server.all("onprem-hpcrs");
            all.extend(self.server.all("virtualservers"));
            assert!(begun.elapsed() < DEADLINE, "not in time: {what}\n{all:#?}");
            assert!(!self.serving.is_finished(), "it serves no more");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// How many payloads of the journal were read so far.
    pub(super) fn read(&self) -> usize {
        self.stores.blobs.read.load(Ordering::Relaxed)
    }

    /// Waits long enough for everything that was started.
    pub(super) async fn settle(&self) {
        tokio::time::sleep(Duration::from_secs(30)).await;
    }
}

/// A user in the pod of the process.
pub(super) fn by_command() -> By {
    By {
        actor: model::Actor::Unix {
            uid: 0,
            name: model::Who::new("root"),
        },
        reason: model::Text::new("maintenance"),
    }
}

/// A condition of an object.
pub(super) fn condition_of(object: Option<Value>, name: &str) -> Value {
    let status = object.unwrap_or_default()["status"].take();
    let conditions = status["conditions"].as_array().cloned();
    let mut conditions = conditions.unwrap_or_default().into_iter();
    conditions
        .find(|one| one["type"] == name)
        .unwrap_or_default()
}

pub(super) fn finalizers(object: Option<Value>) -> Vec<String> {
    let object = object.unwrap_or_default();
    let all = object["metadata"]["finalizers"].as_array();
    let all = all.into_iter().flatten();
    all.map(|one| one.as_str().unwrap().to_owned()).collect()
}

pub(super) async fn open(
    stores: &RigStores,
    hosts: &Arc<Switched>,
    clock: &Arc<VirtualClock>,
    lost: u32,
) -> Fleet {
    let directory = Arc::new(HostDirectory::default());
    let secrets: Arc<dyn Secrets> = match &stores.secrets {
        Some(lasting) => lasting.clone(),
        // As in a cluster: a restart forgets the secrets.
        None => Arc::new(HeldSecrets::new(&format!("journal-{lost}"))),
    };
    let fleet = Fleet::open(FleetConfig {
        journal: stores.journal.clone(),
        blobs: stores.blobs.clone(),
        checkpoints: stores.checkpoints.clone(),
        secrets,
        clock: clock.clone(),
        journal_id: format!("journal-{lost}").into(),
        tuning: Tuning::default(),
        room: Room::boundless(),
        lease: Lease::endless(),
        hosts: hosts.clone(),
        images: Arc::new(SimSource::with_size(1 << 20)),
        directory,
    });
    fleet.await.unwrap()
}

fn serve(
    server: &FakeServer,
    fleet: &Fleet,
    lost: LostJournal,
    host: Option<&str>,
    permits: Arc<dyn Permits>,
) -> (JoinHandle<OperatorEnd>, Subresources) {
    let mut namespaces = vec!["default".to_owned()];
    if host.is_none() {
        namespaces.push("b".to_owned());
    }
    let namespaces = Namespaces::These(namespaces);
    let host = host.map(|host| host.parse::<HostSettings>().unwrap());
    let operator = Operator::new(server.client(), fleet.clone(), &namespaces, host);
    let operator = operator.with_lost_journal(lost).with_permits(permits);
    let (mut delivered, fleet) = (operator.delivered(), fleet.clone());
    let subresources = operator.subresources();
    let serving = tokio::spawn(async move {
        let work = async {
            delivered.wait_for(|done| *done).await.unwrap();
            fleet.drive_all().await.unwrap();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = operator.run() => ended,
            () = work => OperatorEnd::Engine,
        }
    });
    (serving, subresources)
}
