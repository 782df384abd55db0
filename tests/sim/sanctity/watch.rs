//! The path of all calls to the hosts of a sanctity game: it lets guests write, and asks the oracle.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
};

use uuid::Uuid;
use vsiflow_engine::model::NodeState;
use vsiflow_steps::{
    ports::{DiskSpec, PortResult},
    sim::{SimHostState, SimHosts, TokenWrite},
};

use super::oracle::{DiskId, HostsSeen, Oracle, RunningDisk};
use crate::{
    audit::CrashAudit,
    gate::CallKind,
    ownership,
    ports::{CallObject, CallPath, PortCall},
    world::HOSTS,
};

/// The target of every boot disk.
const BOOT: &str = "vda";
/// The calls around which the hosts are looked at.
const LOOKED_AT: [&str; 15] = [
    "create",
    "clone",
    "delete",
    "upload",
    "define",
    "undefine",
    "start",
    "start_saved",
    "start_paused",
    "destroy",
    "resume",
    "add_layers",
    "save_with_layers",
    "begin_merge",
    "end_merge",
];

/// The calls that start a guest.
const STARTS: [&str; 3] = ["start", "start_saved", "start_paused"];

/// Watches the tokens of all hosts.
pub struct TokenWatch {
    hosts: Arc<SimHosts>,
    audit: Mutex<Arc<CrashAudit>>,
    oracle: Mutex<Oracle>,
    /// The data disk of each VSI.
    data_disks: Mutex<BTreeMap<Uuid, Uuid>>,
    /// Held while the hosts are looked at: nobody writes tokens between a look and its comparison.
    turns: tokio::sync::Mutex<()>,
}

impl TokenWatch {
    pub fn new(hosts: Arc<SimHosts>, audit: Arc<CrashAudit>) -> Arc<Self> {
        Arc::new(Self {
            hosts,
            audit: Mutex::new(audit),
            oracle: Mutex::default(),
            data_disks: Mutex::default(),
            turns: tokio::sync::Mutex::default(),
        })
    }

    pub fn oracle(&self) -> MutexGuard<'_, Oracle> {
        self.oracle.lock().unwrap()
    }

    /// The journal is another one from now on.
    pub fn is_audited_by(&self, audit: Arc<CrashAudit>) {
        *self.audit.lock().unwrap() = audit;
    }

    /// The VSI has this data disk.
    pub fn has_data_disk(&self, vsi: Uuid, disk: Uuid) {
        self.data_disks.lock().unwrap().insert(vsi, disk);
    }

    /// Whether the journal says that this data disk is deleted.
    pub fn is_deleted(&self, disk: Uuid) -> bool {
        let audit = self.audit.lock().unwrap();
        let ledger = audit.ledger();
        let entity = ledger.entities.get(&ownership::disk(disk));
        let state = entity.and_then(|entity| entity.state.as_ref());
        state.is_some_and(|(name, _)| name.as_str() == "Deleted")
    }

    /// The disk that a domain has at this target.
    pub fn id_of(&self, uuid: Uuid, target: &str) -> DiskId {
        let data_disks = self.data_disks.lock().unwrap();
        match data_disks.get(&uuid) {
            Some(disk) if target != BOOT => DiskId::Data(*disk),
            _ => DiskId::Boot(uuid),
        }
    }

    /// The members of a pool have data disks whose UIDs the user does not choose: they name the volumes.
    fn learn_data_disk(&self, write: &TokenWrite) {
        let name = write.path.rsplit_once('/').map(|(_, name)| name);
        if let Some(disk) = name.and_then(|name| name.parse().ok()) {
            let mut data_disks = self.data_disks.lock().unwrap();
            data_disks.entry(write.uuid).or_insert(disk);
        }
    }

    /// Lets all guests write, and compares the hosts with what must be there.
    pub async fn look(&self, cause: &str) {
        let _turn = self.turns.lock().await;
        let mut seen = HostsSeen::default();
        for host in HOSTS {
            let sim = self.hosts.sim(host).await.unwrap();
            let (writes, tokens, copies) = sim
                .with(|state| {
                    let writes = state.guests_write(&mut self.oracle().next);
                    let reads = writes
                        .into_iter()
                        .map(|write| (state.tokens_at(&write.path), write));
                    let reads: Vec<_> = reads.collect();
                    look_at_domains(state, &mut seen);
                    (reads, state.all_tokens(), copies(state))
                })
                .await;
            seen.tokens.extend(tokens);
            for (snapshot, copied) in copies {
                seen.copies.entry(snapshot).or_default().extend(copied);
            }
            for (read, write) in writes {
                self.learn_data_disk(&write);
                seen.running.push(RunningDisk {
                    disk: self.id_of(write.uuid, &write.target),
                    place: format!("{} ({}) on {host}", write.uuid, write.path),
                    read,
                    written: write.token,
                    overwritten: write.overwritten,
                });
            }
        }
        self.oracle().compare(&seen, cause);
    }

    /// The tokens of the copies of a snapshot.
    pub async fn copied_tokens(&self, snapshot: Uuid) -> BTreeSet<u64> {
        let mut tokens = BTreeSet::new();
        for host in HOSTS {
            let sim = self.hosts.sim(host).await.unwrap();
            let copied = sim.with(|state| copies(state).remove(&snapshot));
            tokens.extend(copied.await.into_iter().flatten());
        }
        tokens
    }

    /// The tokens of the disk that a domain's stored definition names; `None` if no host has the domain.
    pub async fn defined_tokens(&self, disk: DiskId) -> Option<BTreeSet<u64>> {
        for host in HOSTS {
            let sim = self.hosts.sim(host).await.unwrap();
            let read = sim.with(|state| {
                let mut defined = defined_disks(state);
                let its = defined.find(|(uuid, spec)| self.id_of(*uuid, &spec.target) == disk);
                its.map(|(_, spec)| state.tokens_at(&spec.path))
            });
            if let Some(tokens) = read.await {
                return Some(tokens);
            }
        }
        None
    }

    /// The tokens of the only file at this path; `None` if no host has it.
    pub async fn tokens_in_file(&self, path: &str) -> Option<BTreeSet<u64>> {
        for host in HOSTS {
            let sim = self.hosts.sim(host).await.unwrap();
            let read = sim.with(|state| state.by_path(path).map(|_| state.tokens_at(path)));
            if let Some(tokens) = read.await {
                return Some(tokens);
            }
        }
        None
    }

    /// The call with the steps that are under way.
    fn describe(&self, call: &PortCall) -> String {
        let audit = self.audit.lock().unwrap().clone();
        let uuid = match &call.object {
            CallObject::Domain(uuid) => Some(*uuid),
            CallObject::Volume(key) => ownership::vsi_of(key),
            _ => None,
        };
        let ledger = audit.ledger();
        let runs = ledger.runs.values().filter(|run| run.result().is_none());
        let is_its = |id: &str| uuid.is_none_or(|uuid| id == uuid.to_string());
        let runs = runs.filter(|run| run.entity.as_ref().is_some_and(|it| is_its(it.id())));
        let steps = runs.flat_map(|run| {
            let nodes = run.nodes.iter();
            nodes.filter(|(_, state)| matches!(state, NodeState::Running { .. }))
        });
        let steps: Vec<_> = steps.map(|(name, _)| name.to_string()).collect();
        format!("{} (steps {})", call.describe(), steps.join(", "))
    }
}

fn look_at_domains(state: &SimHostState, seen: &mut HostsSeen) {
    for (uuid, domain) in &state.domains {
        if domain.saved.is_some() {
            seen.saved.insert(*uuid);
        }
        if !domain.state.is_active() {
            continue;
        }
        seen.active.insert(*uuid);
        let spec = domain.running.as_ref().unwrap_or(&domain.spec);
        for nic in &spec.nics {
            seen.macs.entry(nic.mac.clone()).or_default().insert(*uuid);
        }
    }
}

/// The disks that the stored definitions let guests write to.
fn defined_disks(state: &SimHostState) -> impl Iterator<Item = (Uuid, &DiskSpec)> {
    let domains = state.domains.values();
    domains.flat_map(|domain| {
        let disks = domain.spec.disks.iter().filter(|disk| !disk.readonly);
        disks.map(|disk| (domain.spec.uuid, disk))
    })
}

/// The tokens of the copies of each snapshot.
fn copies(state: &SimHostState) -> BTreeMap<Uuid, BTreeSet<u64>> {
    let mut copies = BTreeMap::<Uuid, BTreeSet<u64>>::new();
    for pool in state.pools.values() {
        for name in pool.volumes.keys() {
            let copy = name.strip_prefix("snapshot-");
            let copy = copy.filter(|rest| rest.ends_with(".qcow2"));
            if let Some(snapshot) = copy.and_then(|rest| rest.get(..36)?.parse().ok()) {
                let path = format!("{}/{name}", pool.path);
                copies
                    .entry(snapshot)
                    .or_default()
                    .extend(state.tokens_at(&path));
            }
        }
    }
    copies
}

impl CallPath for TokenWatch {
    async fn go<T: Send + 'static>(
        &self,
        call: PortCall,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        if call.kind == CallKind::Plain || !LOOKED_AT.contains(&call.name) {
            return work.await;
        }
        let described = self.describe(&call);
        self.look(&format!("what came before {described}")).await;
        let starts = match &call.object {
            CallObject::Domain(uuid) if STARTS.contains(&call.name) => Some(*uuid),
            _ => None,
        };
        let answer = work.await;
        if starts.is_some() {
            self.oracle().may_have_started(starts);
        }
        self.look(&described).await;
        answer
    }
}
