//! Which hosts are out of reach, and which take nothing new.
//!
//! The engine marks a host that does not answer, and probes it ([`Lanes`]). As long as it is marked
//! every call that would go there fails at once with what is known, so that nothing waits for
//! time-outs of its own.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError, RwLock},
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

use crate::record::{LibvirtRecord, MachineRecord};

/// The hosts, as far as they are in reach.
pub(crate) struct Reach {
    hosts: Arc<dyn Hosts>,
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
    /// The hosts of which something new is to be recorded.
    unrecorded: BTreeSet<String>,
}

impl Reach {
    pub(crate) fn new(hosts: Arc<dyn Hosts>) -> Arc<Self> {
        let marks = RwLock::default();
        Arc::new(Self { hosts, marks })
    }

    /// Remembers which machine a host is, as it is recorded.
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

    /// What is to be recorded of machines.
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

    /// Takes in what libvirt calls a host.
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

    /// What people are told of a host although it is worked with.
    pub(crate) fn warning(&self, id: &str) -> Option<String> {
        self.read(|marks| marks.libvirts.get(id)?.warning())
    }

    /// The host's ports, which speak to no other machine than the one that is known.
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

    /// The first sight of a host. Of several at once the first counts.
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

    /// Takes a machine that is to be the host from now on.
    pub(crate) async fn claim(&self, id: &str, machine: Option<&str>) -> PortResult<()> {
        self.hosts.claim(id, machine).await
    }

    /// The ports of a host, whether it is marked or not, and whichever machine it is.
    pub(crate) async fn any_host(&self, id: &str) -> PortResult<HostPorts> {
        self.hosts.host(id).await
    }

    /// What keeps the host out of reach.
    pub(crate) fn down(&self, id: &str) -> Option<PortError> {
        self.read(|marks| marks.down.get(id).cloned())
    }

    /// Remembers how the newest look at a host came out: what kept it from answering.
    pub(crate) fn record(&self, id: &str, problem: Option<String>) {
        let mut marks = self.marks.write().unwrap_or_else(PoisonError::into_inner);
        marks.looks.insert(id.to_owned(), problem);
    }

    /// Whether the host answered when it was asked last, and what kept it from that; none where it
    /// was not asked yet.
    pub(crate) fn answers(&self, id: &str) -> Option<Result<(), String>> {
        self.read(|marks| match (marks.down.get(id), marks.looks.get(id)) {
            (Some(down), _) => Some(Err(down.message.clone())),
            (None, Some(Some(problem))) => Some(Err(problem.clone())),
            (None, Some(None)) => Some(Ok(())),
            (None, None) => None,
        })
    }

    /// Marks the host as taking nothing new, and why, or as taking it again.
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
        // Whichever machine it is: that it is another one is for steps to say.
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
