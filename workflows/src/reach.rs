//! Which hosts are unreachable, and which are cordoned.
//!
//! The engine marks a host that does not answer, and probes it ([`Lanes`]). While it is marked, every
//! call to it fails immediately with the known error, so that no call waits for its own timeout.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use vsiflow_engine::{
    lane::Lanes,
    model::{Failure, FailureClass, Text},
};
use vsiflow_steps::{
    error,
    ports::{HostPorts, HostUuid, Hosts, PortError, PortResult},
};

use crate::{
    hosts::HostDirectory,
    record::{LibvirtRecord, MachineRecord},
};

/// Access to hosts, with what is known of their reachability and identity.
pub(crate) struct Reach {
    hosts: Arc<dyn Hosts>,
    directory: Arc<HostDirectory>,
    /// Whether the journal is a copy that was restored from a backup.
    is_restored: AtomicBool,
    marks: RwLock<Marks>,
}

#[derive(Default)]
struct Marks {
    down: BTreeMap<String, PortError>,
    looks: BTreeMap<String, Option<String>>,
    cordoned: BTreeMap<String, String>,
    machines: BTreeMap<String, String>,
    seen_first: BTreeMap<String, String>,
    libvirts: BTreeMap<String, LibvirtRecord>,
    /// The hosts with identity changes to record.
    unrecorded: BTreeSet<String>,
}

impl Reach {
    pub(crate) fn new(hosts: Arc<dyn Hosts>, directory: Arc<HostDirectory>) -> Arc<Self> {
        Arc::new(Self {
            hosts,
            directory,
            is_restored: AtomicBool::new(false),
            marks: RwLock::default(),
        })
    }

    /// Notes that the journal is a copy that was restored from a backup.
    pub(crate) fn set_restored(&self) {
        self.is_restored.store(true, Ordering::Relaxed);
    }

    /// Sets the recorded machine identity of a host.
    pub(crate) fn is_machine(&self, record: &MachineRecord) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        let id = &record.host;
        match record.machine.as_str() {
            "" => marks.machines.remove(id),
            machine => marks.machines.insert(id.clone(), machine.to_owned()),
        };
        match &record.libvirt {
            Some(libvirt) => marks.libvirts.insert(id.clone(), libvirt.clone()),
            None => marks.libvirts.remove(id),
        };
        marks.seen_first.remove(id);
        marks.unrecorded.remove(id);
    }

    /// The machine identities to record.
    pub(crate) fn unrecorded(&self) -> Vec<MachineRecord> {
        self.read(|marks| {
            let hosts: BTreeSet<_> = marks.seen_first.keys().chain(&marks.unrecorded).collect();
            let record = |host: &String| {
                let known = marks.machines.get(host);
                MachineRecord {
                    host: host.clone(),
                    machine: known
                        .or_else(|| marks.seen_first.get(host))
                        .cloned()
                        .unwrap_or_default(),
                    libvirt: marks.libvirts.get(host).cloned(),
                }
            };
            hosts.into_iter().map(record).collect()
        })
    }

    /// Processes the UUID that libvirt reports for a host.
    pub(crate) fn saw_uuid(&self, id: &str, seen: &HostUuid) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        let news = match marks.libvirts.get(id) {
            Some(known) => known.after(seen),
            None => Some(LibvirtRecord::first(seen)),
        };
        let Some(news) = news else { return };
        if let Some(warning) = news.warning() {
            tracing::warn!(host = id, "{warning}");
        }
        marks.libvirts.insert(id.to_owned(), news);
        marks.unrecorded.insert(id.to_owned());
    }

    /// The warning about a host that is used nevertheless.
    pub(crate) fn warning(&self, id: &str) -> Option<String> {
        self.read(|marks| marks.libvirts.get(id)?.warning())
    }

    /// The host's ports, pinned to the known machine.
    async fn pinned(&self, id: &str) -> PortResult<HostPorts> {
        let ports = self.hosts.host(id).await?;
        let known = self.read(|marks| {
            let recorded = marks.machines.get(id);
            recorded.or_else(|| marks.seen_first.get(id)).cloned()
        });
        let machine = match known {
            Some(machine) => Some(machine),
            None => self.meet(id, &ports).await?,
        };
        self.hosts.claim(id, machine.as_deref()).await?;
        ports.host.pin(machine.as_deref());
        let libvirt = self.read(|marks| marks.libvirts.get(id).cloned());
        let stays = libvirt.filter(|libvirt| libvirt.stays);
        ports.host.pin_uuid(stays.map(|pinned| pinned.uuid));
        Ok(ports)
    }

    /// Reads the machine of a host for the first time. Of several concurrent reads the first counts.
    async fn meet(&self, id: &str, ports: &HostPorts) -> PortResult<Option<String>> {
        let Some(machine) = ports.host.machine().await? else {
            return Ok(None);
        };
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = marks.machines.get(id) {
            return Ok(Some(known.clone()));
        }
        let first = marks.seen_first.entry(id.to_owned()).or_insert(machine);
        Ok(Some(first.clone()))
    }

    /// Claims a machine as this host.
    pub(crate) async fn claim(&self, id: &str, machine: Option<&str>) -> PortResult<()> {
        self.hosts.claim(id, machine).await
    }

    /// The ports of a host, marked or not, whichever machine it is.
    pub(crate) async fn any_host(&self, id: &str) -> PortResult<HostPorts> {
        self.hosts.host(id).await
    }

    /// The error of a host that is marked as unreachable.
    pub(crate) fn down(&self, id: &str) -> Option<PortError> {
        self.read(|marks| marks.down.get(id).cloned())
    }

    /// Stores the result of the newest check of a host: why it did not answer, if it did not.
    pub(crate) fn record(&self, id: &str, problem: Option<String>) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.looks.insert(id.to_owned(), problem);
    }

    /// Whether the host answered the last check, and the error if not; `None` if it was not checked
    /// yet.
    pub(crate) fn answers(&self, id: &str) -> Option<Result<(), String>> {
        self.read(|marks| match (marks.down.get(id), marks.looks.get(id)) {
            (Some(down), _) => Some(Err(down.message.clone())),
            (None, Some(Some(problem))) => Some(Err(problem.clone())),
            (None, Some(None)) => Some(Ok(())),
            (None, None) => None,
        })
    }

    /// Marks the host as cordoned, with the reason, or as not cordoned.
    pub(crate) fn cordon(&self, id: &str, why: Option<&str>) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => marks.cordoned.insert(id.to_owned(), why.to_owned()),
            None => marks.cordoned.remove(id),
        };
    }

    fn read<T>(&self, look: impl FnOnce(&Marks) -> T) -> T {
        look(&self.marks.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Hosts for Reach {
    async fn host(&self, id: &str) -> PortResult<HostPorts> {
        match self.down(id) {
            Some(error) => Err(error),
            None => self.pinned(id).await,
        }
    }

    async fn leave(&self) {
        self.hosts.leave().await;
    }

    async fn others(&self, id: &str) -> Vec<String> {
        self.directory.others_of_owner(id)
    }

    fn has_forgotten(&self) -> bool {
        self.is_restored.load(Ordering::Relaxed)
    }

    fn cordoned(&self, id: &str) -> Option<String> {
        self.read(|marks| marks.cordoned.get(id).cloned())
    }
}

#[async_trait]
impl Lanes for Reach {
    fn is_down(&self, failure: &Failure) -> bool {
        failure.class == FailureClass::Transient && error::is_host_down(failure)
    }

    async fn probe(&self, lane: &Text) -> Result<(), Failure> {
        // Accepts any machine: steps report a changed machine.
        let ports = self.hosts.host(lane.as_str()).await?;
        ports.host.facts().await?;
        Ok(())
    }

    fn note(&self, lane: &Text, down: Option<&Failure>) {
        let error = down.and_then(error::host_down);
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        match error {
            Some(error) => marks.down.insert(lane.as_str().to_owned(), error),
            None => marks.down.remove(lane.as_str()),
        };
    }
}
