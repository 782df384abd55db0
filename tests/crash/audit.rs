//! Watches the journal and the hosts together: everything that must hold at every moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
};

use uuid::Uuid;
use vsiflow_engine::{
    journal::Record,
    model::{EntityId, EntityState, EventKind, Name, NodeState, RunId, RunState, StreamId},
};
use vsiflow_steps::{
    ports::{PortResult, VolumeKey},
    sim::{SimHostState, SimHosts},
};

use super::{
    gate::Kind,
    ownership::{self, Owner},
    ports::{Call, Object, Way},
    world::HOSTS,
};

/// What was acknowledged, what it folds to, and what was found wrong.
pub struct Audit {
    hosts: Arc<SimHosts>,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
pub struct Ledger {
    pub entities: BTreeMap<EntityId, EntityState>,
    pub runs: BTreeMap<RunId, RunState>,
    pub records: Vec<Record>,
    pub violations: Vec<String>,
    /// When a VSI's newest clone was recorded, as the number of records then, and by which run.
    cloned: BTreeMap<Uuid, (usize, RunId)>,
    /// When a VSI's boot disk was last changed on its host, by the same count.
    changed: BTreeMap<Uuid, usize>,
    /// Starts that a host carried out, by run, with the host's boot.
    starts: BTreeMap<RunId, (u64, u32)>,
    /// What others put on the hosts.
    pub foreign: BTreeSet<(String, String)>,
}

impl Audit {
    pub fn new(hosts: Arc<SimHosts>) -> Arc<Self> {
        let ledger = Mutex::default();
        Arc::new(Self { hosts, ledger })
    }

    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap()
    }

    /// The first thing that was found wrong.
    pub fn verdict(&self) -> Result<(), String> {
        match self.ledger().violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// Takes in what a journal acknowledged.
    pub fn durable(&self, records: &[Record]) {
        let mut ledger = self.ledger();
        records.iter().for_each(|record| ledger.take_in(record));
    }

    /// Somebody else's object; nothing may touch it.
    pub fn foreign(&self, host: &str, object: String) {
        self.ledger().foreign.insert((host.to_owned(), object));
    }

    async fn before(&self, call: &Call) {
        self.ledger().attempted(call);
        if let (Object::Domain(uuid), "define") = (&call.object, call.name) {
            self.twice(call, *uuid).await;
        }
        let sim = self.hosts.sim(&call.host).await.unwrap();
        if let (Object::Domain(uuid), "start_saved") = (&call.object, call.name)
            && let Some(disk) = sim.with(|state| not_put_back(state, *uuid)).await
        {
            let wrong = format!(
                "{} although {disk} is not as the snapshot has it",
                call.describe()
            );
            self.ledger().blame(wrong);
        }
        if let (Object::Volume(key), "delete") = (&call.object, call.name) {
            let (asked_for, restored) = {
                let ledger = self.ledger();
                let unmade = ledger.is_unfilled(key);
                (ledger.is_to_go(key) || unmade, ledger.restores())
            };
            let wrong = sim.with(|state| used_by_others(state, key, asked_for, restored));
            let wrong = wrong.await;
            if let Some(why) = wrong {
                self.ledger()
                    .blame(format!("{} although {why}", call.describe()));
            }
        }
    }

    /// A member that is made while another of its name is on some host: the guest would be there twice.
    async fn twice(&self, call: &Call, uuid: Uuid) {
        let Some(title) = self.ledger().member_title(uuid) else {
            return;
        };
        for host in HOSTS {
            let sim = self.hosts.sim(host).await.unwrap();
            let other = sim.with(|state| {
                let mut domains = state.domains.iter();
                domains.any(|(other, domain)| *other != uuid && domain.spec.title == title)
            });
            if other.await {
                let wrong = format!("{} although {title} is on {host} still", call.describe());
                self.ledger().blame(wrong);
            }
        }
    }

    async fn boot(&self, host: &str, uuid: Uuid) -> (u64, Option<u64>) {
        let sim = self.hosts.sim(host).await.unwrap();
        sim.with(|state| {
            let live = state
                .domains
                .get(&uuid)
                .and_then(|domain| domain.live.as_ref());
            (state.boots, live.map(|live| live.started))
        })
        .await
    }
}

impl Way for Audit {
    async fn go<T: Send + 'static>(
        &self,
        call: Call,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        if call.kind == Kind::Plain {
            return work.await;
        }
        self.before(&call).await;
        let (Object::Domain(uuid), "start" | "start_saved") = (&call.object, call.name) else {
            return work.await;
        };
        let run = self.ledger().active_run(*uuid);
        let (_, earlier) = self.boot(&call.host, *uuid).await;
        let answer = work.await;
        let (boots, now) = self.boot(&call.host, *uuid).await;
        if now.is_some() && now != earlier {
            self.ledger().started(&call, run, boots);
        }
        answer
    }
}

impl Ledger {
    /// What these records alone fold to.
    pub fn folded(records: &[Record]) -> Self {
        let mut ledger = Self::default();
        records.iter().for_each(|record| ledger.take_in(record));
        ledger
    }

    pub fn blame(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn take_in(&mut self, record: &Record) {
        let folded = match &record.stream {
            StreamId::Entity(id) => self
                .entities
                .entry(id.clone())
                .or_default()
                .apply(&record.event),
            StreamId::Run(id) => self.runs.entry(*id).or_default().apply(&record.event),
            StreamId::Journal => Ok(()),
        };
        if let Err(divergence) = folded {
            self.blame(format!("{}: {divergence}", record.stream));
        }
        self.records.push(record.clone());
        if let (StreamId::Run(run), EventKind::StepSucceeded { node, .. }) =
            (&record.stream, &record.event.kind)
            && ["clone_boot_disk", "restore_disks"].contains(&node.as_str())
            && let Some(uuid) = self.uuid_of(*run)
        {
            self.cloned.insert(uuid, (self.records.len(), *run));
        }
    }

    fn uuid_of(&self, run: RunId) -> Option<Uuid> {
        self.runs.get(&run)?.entity.as_ref()?.id().parse().ok()
    }

    pub fn vsi(&self, uuid: Uuid) -> Option<&EntityState> {
        self.entities.get(&ownership::entity(uuid))
    }

    /// Whether somebody asked to delete this data disk.
    fn is_to_go(&self, key: &VolumeKey) -> bool {
        let commanded = |(id, state): (&EntityId, &EntityState)| {
            let workflow = state
                .desired
                .as_ref()
                .map(|desired| desired.workflow.as_str());
            id.id() == key.name && workflow == Some("delete_data_disk")
        };
        self.entities.iter().any(commanded)
    }

    /// Whether a data disk is being filled, and nobody recorded that it is.
    fn is_unfilled(&self, key: &VolumeKey) -> bool {
        let filling = ["fill_volume", "fill_from_image"].map(Name::of);
        let mut its = self.runs.values().filter(|run| {
            let entity = run.entity.as_ref();
            entity.is_some_and(|id| id.kind().as_str() == "disk" && id.id() == key.name)
        });
        let done = |run: &RunState| {
            let mut nodes = filling.iter().filter_map(|step| run.nodes.get(step));
            nodes.any(|node| matches!(node, NodeState::Succeeded { .. }))
        };
        let begun = self.entities.iter().any(|(id, state)| {
            let intended = filling.iter().any(|step| state.intents.contains(step));
            id.kind().as_str() == "disk" && id.id() == key.name && intended
        });
        begun && !its.any(done)
    }

    /// Whether a VSI puts its disks back now.
    fn restores(&self) -> bool {
        let open = self
            .entities
            .values()
            .filter_map(|state| state.active.as_ref());
        let mut runs = open.filter_map(|active| self.runs.get(&active.run));
        runs.any(|run| {
            let node = run.nodes.get(&Name::of("restore_disks"));
            node.is_some_and(is_under_way)
        })
    }

    pub fn active_run(&self, uuid: Uuid) -> Option<RunId> {
        self.vsi(uuid)?.active.as_ref().map(|active| active.run)
    }

    /// Where a node of the VSI's open run stands.
    pub fn node(&self, uuid: Uuid, node: &str) -> Option<&NodeState> {
        self.runs
            .get(&self.active_run(uuid)?)?
            .nodes
            .get(&Name::of(node))
    }

    /// An effect belongs to an attempt that is on record, and to an intent that is.
    fn attempted(&mut self, call: &Call) {
        if self.is_foreign(call) && call.name != "create" && call.name != "sync" {
            self.blame(format!("{}, which is somebody else's", call.describe()));
        }
        let Some((owner, steps)) = ownership::owner(call) else {
            return;
        };
        let entities: Vec<_> = self
            .entities
            .iter()
            .filter(|(id, _)| owner.may_be(id))
            .collect();
        let acting = entities.iter().any(|(_, entity)| {
            let run = entity
                .active
                .as_ref()
                .and_then(|active| self.runs.get(&active.run));
            steps.iter().any(|step| {
                let node = run.and_then(|run| run.nodes.get(&Name::of(step)));
                node.is_some_and(is_under_way) && entity.intents.contains(&Name::of(step))
            })
        });
        if !acting {
            let wrong = format!(
                "{}, but no attempt and intent of {steps:?} is on record",
                call.describe()
            );
            self.blame(wrong);
        }
        if let Owner::Boot(uuid) = owner {
            self.changed.insert(uuid, self.records.len());
        }
        if let (Object::Domain(uuid), "start" | "start_saved") = (&call.object, call.name) {
            self.starts_on_recorded_clone(call, *uuid);
        }
    }

    fn is_foreign(&self, call: &Call) -> bool {
        let name = match &call.object {
            Object::Volume(key) => key.to_string(),
            Object::Domain(uuid) => uuid.to_string(),
            _ => return false,
        };
        self.foreign.contains(&(call.host.clone(), name))
    }

    fn starts_on_recorded_clone(&mut self, call: &Call, uuid: Uuid) {
        let cloned = self.cloned.get(&uuid).map(|(at, _)| at);
        let changed = self.changed.get(&uuid);
        if cloned.is_none() || changed > cloned {
            self.blame(format!(
                "{}: its boot disk is not recorded as cloned",
                call.describe()
            ));
        }
        let cloned_by = self.cloned.get(&uuid).map(|(_, run)| *run);
        if self.is_ephemeral(uuid) && cloned_by != self.active_run(uuid) {
            self.blame(format!(
                "{}: its boot disk was made for an earlier start",
                call.describe()
            ));
        }
    }

    fn is_ephemeral(&self, uuid: Uuid) -> bool {
        let desired = self.vsi(uuid).and_then(|state| state.desired.as_ref());
        let desired = desired.and_then(|desired| desired.desired.inline());
        let desired: Option<serde_json::Value> =
            desired.and_then(|desired| serde_json::from_slice(desired).ok());
        desired.is_some_and(|desired| desired["vsi"]["bootDisk"]["mode"] == "ephemeral")
    }

    /// What the domain of a pool's member is called on its host.
    fn member_title(&self, uuid: Uuid) -> Option<String> {
        let desired = self.vsi(uuid)?.desired.as_ref()?.desired.inline()?;
        let desired: serde_json::Value = serde_json::from_slice(desired).ok()?;
        let vsi = &desired["vsi"];
        vsi["memberOf"].as_object()?;
        let (namespace, name) = (vsi["namespace"].as_str()?, vsi["name"].as_str()?);
        Some(format!("{namespace}/{name}"))
    }

    fn started(&mut self, call: &Call, run: Option<RunId>, boots: u64) {
        let Some(run) = run else { return };
        let starts = self.starts.entry(run).or_insert((boots, 0));
        if starts.0 != boots {
            *starts = (boots, 0);
        }
        starts.1 += 1;
        if starts.1 > 1 {
            self.blame(format!("{} a second time in one run", call.describe()));
        }
    }
}

fn is_under_way(node: &NodeState) -> bool {
    !matches!(
        node,
        NodeState::Waiting
            | NodeState::Succeeded { .. }
            | NodeState::Failed { .. }
            | NodeState::Skipped { .. }
    )
}

/// A disk of the guest that has other bytes than its copy in every snapshot: memory does not fit it.
fn not_put_back(state: &SimHostState, uuid: Uuid) -> Option<String> {
    let spec = &state.domains.get(&uuid)?.spec;
    let written = spec.disks.iter().filter(|disk| !disk.readonly);
    let volumes = || state.pools.values().flat_map(|pool| &pool.volumes);
    let mut odd = written.enumerate().filter(|(index, disk)| {
        let copy = format!("-{index}.qcow2");
        let mut copies =
            volumes().filter(|(name, _)| name.starts_with("snapshot-") && name.ends_with(&copy));
        let content = state.by_path(&disk.path).map(|volume| &volume.content);
        !copies.any(|(_, volume)| Some(&volume.content) == content)
    });
    odd.next().map(|(_, disk)| disk.path.clone())
}

/// Who, on the host itself, would lose this volume.
fn used_by_others(
    state: &SimHostState,
    key: &VolumeKey,
    asked_for: bool,
    restored: bool,
) -> Option<String> {
    let pool = state.pools.get(&key.pool)?;
    pool.volumes.get(&key.name)?;
    let path = format!("{}/{}", pool.path, key.name);
    let own = ownership::vsi_of(key);
    for domain in state.domains.values() {
        let spec = &domain.spec;
        let named = spec.disks.iter().any(|disk| disk.path == path) || spec.console_log == path;
        let owner = own == Some(spec.uuid) || restored && ownership::is_disk(key);
        let idle_owner = owner && !domain.state.is_active();
        if named && !idle_owner {
            return Some(format!(
                "domain {} ({:?}) names it",
                spec.name, domain.state
            ));
        }
    }
    let volumes = state.pools.values().flat_map(|place| &place.volumes);
    let mut over = volumes.filter(|(_, volume)| volume.backing.as_deref() == Some(&*path));
    let over = over
        .next()
        .map(|(name, _)| format!("volume {name} lies over it"));
    let kept = ownership::is_disk(key) && !asked_for && !restored;
    over.or_else(|| kept.then(|| "it is a data disk that nobody asked to delete".to_owned()))
}
