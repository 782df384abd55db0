//! Watches the journal and the hosts together, and checks everything that must hold at every moment.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
};

use uuid::Uuid;
use vsiflow_engine::{
    journal::Record,
    model::{
        EntityId, EntityState, EventKind, Name, NodeState, Objects, RunId, RunState, StreamId,
        Text, Work,
    },
    step::Step as _,
};
use vsiflow_steps::{
    names,
    ports::{DeletionGround, PortResult, VolumeKey},
    sim::{SimHostState, SimHosts},
    snapshot::RestoreDisks,
    vsi::{CloneBootDisk, clone_boot_disk},
};

use super::{
    gate::CallKind,
    ownership::{self, ObjectOwner},
    ports::{CallObject, CallPath, PortCall},
    world::HOSTS,
};

/// The acknowledged events, the state computed from them, and the violations found.
pub struct CrashAudit {
    hosts: Arc<SimHosts>,
    ledger: Mutex<AcknowledgedState>,
}

#[derive(Default)]
pub struct AcknowledgedState {
    pub entities: BTreeMap<EntityId, EntityState>,
    pub runs: BTreeMap<RunId, RunState>,
    pub records: Vec<Record>,
    pub violations: Vec<String>,
    /// For each boot disk its newest recorded clone: the number of records at that time, and the run.
    cloned: BTreeMap<Text, (usize, RunId)>,
    /// For each boot disk the number of records when it was last changed on its host.
    changed: BTreeMap<Text, usize>,
    /// The starts of a guest that hosts carried out, by run, with the host's boot.
    starts: BTreeMap<RunId, (u64, u32)>,
    /// For each VSI of a game how often its user asked for something that may destroy its boot disk, less what
    /// was done of it. It does not rely on the orders in the journal.
    asked_for: BTreeMap<Uuid, u32>,
    /// The foreign objects, by host and name.
    pub foreign: BTreeSet<(String, String)>,
}

impl CrashAudit {
    pub fn new(hosts: Arc<SimHosts>) -> Arc<Self> {
        let ledger = Mutex::default();
        Arc::new(Self { hosts, ledger })
    }

    pub fn ledger(&self) -> MutexGuard<'_, AcknowledgedState> {
        self.ledger.lock().unwrap()
    }

    /// The first violation, as an error.
    pub fn verdict(&self) -> Result<(), String> {
        match self.ledger().violations.first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// Adds records that the journal acknowledged.
    pub fn durable(&self, records: &[Record]) {
        let mut ledger = self.ledger();
        records.iter().for_each(|record| ledger.take_in(record));
    }

    /// Adds a foreign object, which nothing may touch.
    pub fn foreign(&self, host: &str, object: String) {
        self.ledger().foreign.insert((host.to_owned(), object));
    }

    /// The user of a game asked for something that may destroy the boot disk of this VSI. The plan also shows
    /// those that an unfinished change left.
    pub fn user_asked_to_destroy(&self, uuid: Uuid) {
        let mut ledger = self.ledger();
        let made = ledger.vsi(uuid).map_or(0, |state| state.objects.made.len());
        if let Some(times) = ledger.asked_for.get_mut(&uuid) {
            *times += u32::try_from(made.max(1)).unwrap();
        }
    }

    /// The user of a game made this VSI; from now on its boot disk is destroyed only if the user asks for it.
    pub fn user_made(&self, uuid: Uuid) {
        self.ledger().asked_for.entry(uuid).or_default();
    }

    async fn before(&self, call: &PortCall) {
        self.ledger().attempted(call);
        if let (CallObject::Domain(uuid), "define") = (&call.object, call.name) {
            self.twice(call, *uuid).await;
        }
        let sim = self.hosts.sim(&call.host).await.unwrap();
        if let (CallObject::Domain(uuid), "start_saved") = (&call.object, call.name)
            && let Some(disk) = sim.with(|state| not_put_back(state, *uuid)).await
        {
            let wrong = format!(
                "{} although {disk} is not as the snapshot has it",
                call.describe()
            );
            self.ledger().blame(wrong);
        }
        if let (CallObject::Volume(key), "delete") = (&call.object, call.name) {
            let (asked_for, restored) = {
                let ledger = self.ledger();
                let is_replaced = ledger.is_unfilled(key) || ledger.is_given_up(key);
                (
                    ledger.is_to_be_deleted(key) || is_replaced,
                    ledger.restores(),
                )
            };
            let wrong = sim.with(|state| used_by_others(state, key, asked_for, restored));
            let wrong = wrong.await;
            if let Some(why) = wrong {
                self.ledger()
                    .blame(format!("{} although {why}", call.describe()));
            }
        }
    }

    /// Reports a pool member that is made while a domain with its name exists: the guest would exist twice.
    async fn twice(&self, call: &PortCall, uuid: Uuid) {
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

impl CallPath for CrashAudit {
    async fn go<T: Send + 'static>(
        &self,
        call: PortCall,
        work: impl Future<Output = PortResult<T>> + Send + 'static,
    ) -> PortResult<T> {
        if call.kind == CallKind::Plain {
            return work.await;
        }
        self.before(&call).await;
        let (CallObject::Domain(uuid), "start" | "start_saved") = (&call.object, call.name) else {
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

impl AcknowledgedState {
    /// The state computed from these records alone.
    pub fn folded(records: &[Record]) -> Self {
        let mut ledger = Self::default();
        records.iter().for_each(|record| ledger.take_in(record));
        ledger
    }

    pub fn blame(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn take_in(&mut self, record: &Record) {
        if let StreamId::Entity(id) = &record.stream
            && self.carries_out_an_order(record)
            && let Ok(uuid) = id.id().parse()
            && let Some(times) = self.asked_for.get_mut(&uuid)
        {
            *times = times.saturating_sub(1);
        }
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
            && let Some(disk) = self.boot_disk_made_by(*run, node)
        {
            self.cloned.insert(disk, (self.records.len(), *run));
        }
    }

    /// Whether the fact ends a boot disk for which an order was spent: what the user asked for is done, once.
    fn carries_out_an_order(&self, record: &Record) -> bool {
        let (EventKind::ObjectMade { object, .. } | EventKind::ObjectGone { object }) =
            &record.event.kind
        else {
            return false;
        };
        let StreamId::Entity(id) = &record.stream else {
            return false;
        };
        self.entities.get(id).is_some_and(|state| {
            let mut warrants = state.objects.warrants.values();
            warrants.any(|warrant| warrant.object == *object && warrant.spent.is_some())
        })
    }

    /// The boot disk that this node of a run made, if it made one.
    fn boot_disk_made_by(&self, run: RunId, node: &Name) -> Option<Text> {
        let run = self.runs.get(&run)?;
        let graph = run.graph.as_ref()?;
        let node = graph.nodes.iter().find(|other| other.name == *node)?;
        let Work::Step { step, params, .. } = &node.work else {
            return None;
        };
        let objects = &self.entities.get(run.entity.as_ref()?)?.objects;
        match (step.as_str(), params.inline()) {
            (CloneBootDisk::NAME, Some(params)) => {
                let params: clone_boot_disk::Params = serde_json::from_slice(params).unwrap();
                Some(Text::new(params.volume.to_string()))
            }
            // Only the parameters of a disk that replaces another are so long.
            (CloneBootDisk::NAME, None) => objects.newest.clone(),
            // The disks of a definition are restored in their place.
            (RestoreDisks::NAME, _) => {
                let used = objects.in_use.as_ref();
                used.map(|used| used.object.clone())
            }
            _ => None,
        }
    }

    pub fn vsi(&self, uuid: Uuid) -> Option<&EntityState> {
        self.entities.get(&ownership::entity(uuid))
    }

    /// Whether the deletion of this data disk was requested.
    fn is_to_be_deleted(&self, key: &VolumeKey) -> bool {
        let commanded = |(id, state): (&EntityId, &EntityState)| {
            let workflow = state
                .desired
                .as_ref()
                .map(|desired| desired.workflow.as_str());
            is_disk_of(id, key) && workflow == Some("delete_data_disk")
        };
        self.entities.iter().any(commanded)
    }

    /// Whether the filling of a data disk was begun, and its success was not recorded.
    fn is_unfilled(&self, key: &VolumeKey) -> bool {
        let filling = ["fill_volume", "fill_from_image"].map(Name::of);
        let mut its = self.runs.values().filter(|run| {
            let entity = run.entity.as_ref();
            entity.is_some_and(|id| is_disk_of(id, key))
        });
        let done = |run: &RunState| {
            let mut nodes = filling.iter().filter_map(|step| run.nodes.get(step));
            nodes.any(|node| matches!(node, NodeState::Succeeded { .. }))
        };
        let begun = self.entities.iter().any(|(id, state)| {
            let intended = filling.iter().any(|step| state.intents.contains(step));
            is_disk_of(id, key) && intended
        });
        begun && !its.any(done)
    }

    /// Whether the disk is another volume by now, or the volume was begun and never handed to a guest.
    fn is_given_up(&self, key: &VolumeKey) -> bool {
        let object = Text::new(key.to_string());
        let mut its = self.entities.iter().filter(|(id, _)| is_disk_of(id, key));
        its.any(|(_, state)| {
            let used = state.objects.in_use.as_ref();
            used.is_some_and(|used| used.object != object) || state.objects.begun.contains(&object)
        })
    }

    /// Whether a VSI is restoring its disks in the place of the present ones.
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

    /// The state of a step in the VSI's open run.
    pub fn node(&self, uuid: Uuid, node: &str) -> Option<&NodeState> {
        self.runs
            .get(&self.active_run(uuid)?)?
            .nodes
            .get(&Name::of(node))
    }

    /// Checks that an effect belongs to a recorded attempt and a recorded intent.
    fn attempted(&mut self, call: &PortCall) {
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
                let step = Name::of(step);
                run.is_some_and(|run| is_attempted(run, &step)) && entity.intents.contains(&step)
            })
        });
        let objects = entities.iter().map(|(_, entity)| &entity.objects);
        let wrong_ground = without_ground(call, &objects.collect::<Vec<_>>());
        if !acting {
            let wrong = format!(
                "{}, but no attempt and intent of {steps:?} is on record",
                call.describe()
            );
            self.blame(wrong);
        }
        if let Some(why) = wrong_ground {
            self.blame(format!("{}, and {why}", call.describe()));
        }
        if let (ObjectOwner::Boot(uuid), "delete") = (&owner, call.name) {
            self.deletes_what_was_asked_for(call, *uuid);
        }
        if let (ObjectOwner::Boot(_), CallObject::Volume(key)) = (owner, &call.object) {
            let disk = Text::new(key.to_string());
            self.changed.insert(disk, self.records.len());
        }
        if let (CallObject::Domain(uuid), "start" | "start_saved") = (&call.object, call.name) {
            self.starts_on_recorded_clone(call, *uuid);
        }
    }

    /// Checks that a boot disk that a guest may have written to is deleted only after the user asked for something
    /// that destroys it.
    fn deletes_what_was_asked_for(&mut self, call: &PortCall, uuid: Uuid) {
        let is_written = self
            .vsi(uuid)
            .is_some_and(|state| is_written(call, &state.objects));
        let asked_for = self.asked_for.get(&uuid);
        if is_written && asked_for.is_some_and(|times| *times == 0) {
            let wrong = format!(
                "{}, and the user asked for nothing like it",
                call.describe()
            );
            self.blame(wrong);
        }
    }

    fn is_foreign(&self, call: &PortCall) -> bool {
        let name = match &call.object {
            CallObject::Volume(key) => key.to_string(),
            CallObject::Domain(uuid) => uuid.to_string(),
            _ => return false,
        };
        self.foreign.contains(&(call.host.clone(), name))
    }

    fn starts_on_recorded_clone(&mut self, call: &PortCall, uuid: Uuid) {
        let used = self
            .vsi(uuid)
            .and_then(|state| state.objects.in_use.as_ref());
        let Some(disk) = used.map(|used| used.object.clone()) else {
            let wrong = format!("{}: no boot disk is recorded in use", call.describe());
            return self.blame(wrong);
        };
        let cloned = self.cloned.get(&disk).map(|(at, _)| at);
        let changed = self.changed.get(&disk);
        if cloned.is_none() || changed > cloned {
            self.blame(format!(
                "{}: its boot disk is not recorded as cloned",
                call.describe()
            ));
        }
        let cloned_by = self.cloned.get(&disk).map(|(_, run)| *run);
        if self.is_ephemeral(uuid) && cloned_by != self.active_run(uuid) {
            self.blame(format!(
                "{}: its boot disk was made for an earlier start",
                call.describe()
            ));
        }
    }

    /// Whether the open run is for a document whose boot disk lasts for one start. A newer document may be
    /// recorded while it ends.
    fn is_ephemeral(&self, uuid: Uuid) -> bool {
        let state = self.vsi(uuid);
        let open_run = state.and_then(|state| state.active.as_ref());
        let desired = state.and_then(|state| state.desired.as_ref());
        let desired = desired
            .filter(|desired| open_run.is_some_and(|run| run.generation == desired.generation));
        let desired = desired.and_then(|desired| desired.desired.inline());
        let desired: Option<serde_json::Value> =
            desired.and_then(|desired| serde_json::from_slice(desired).ok());
        desired.is_some_and(|desired| desired["vsi"]["bootDisk"]["mode"] == "ephemeral")
    }

    /// The title of the domain of a pool's member.
    fn member_title(&self, uuid: Uuid) -> Option<String> {
        let desired = self.vsi(uuid)?.desired.as_ref()?.desired.inline()?;
        let desired: serde_json::Value = serde_json::from_slice(desired).ok()?;
        let vsi = &desired["vsi"];
        vsi["memberOf"].as_object()?;
        let (namespace, name) = (vsi["namespace"].as_str()?, vsi["name"].as_str()?);
        Some(format!("{namespace}/{name}"))
    }

    fn started(&mut self, call: &PortCall, run: Option<RunId>, boots: u64) {
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

/// Whether the entity is the data disk that a volume is, or was.
fn is_disk_of(id: &EntityId, key: &VolumeKey) -> bool {
    let uid = names::numbered_data_disk(&key.name).map(|(uid, _)| uid.to_string());
    id.kind().as_str() == "disk" && uid.as_deref() == Some(id.id())
}

/// Whether a node of the run that carries out this step is under way.
fn is_attempted(run: &RunState, step: &Name) -> bool {
    let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
    let mut own =
        nodes.filter(|node| matches!(&node.work, Work::Step { step: own, .. } if own == step));
    own.any(|node| run.nodes.get(&node.name).is_some_and(is_under_way))
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

/// A disk of the guest that differs from its copy in every snapshot, so saved memory does not fit it.
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

/// Who on the host would lose this volume if it were deleted or replaced, other than its idle owner.
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
        let mut written = spec.disks.iter().filter(|disk| !disk.readonly);
        if spec.autostart && written.any(|disk| disk.path == path) {
            let name = &spec.name;
            return Some(format!(
                "domain {name} would start with its host, on half a disk"
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

/// Why a deletion has no ground by what the journal acknowledged of the entities that may own the volume.
fn without_ground(call: &PortCall, objects: &[&Objects]) -> Option<&'static str> {
    let ground = call.ground?;
    if ground != DeletionGround::Ordered {
        let is_written = objects.iter().any(|objects| is_written(call, objects));
        return is_written.then_some("a guest may have written to it");
    }
    let object = Text::new(call.object.to_string());
    let is_spent = objects.iter().any(|objects| {
        let mut warrants = objects.warrants.values();
        warrants.any(|warrant| warrant.object == object && warrant.spent.is_some())
    });
    (!is_spent).then_some("no order for it is spent")
}

fn is_written(call: &PortCall, objects: &Objects) -> bool {
    let object = Text::new(call.object.to_string());
    objects.made.contains_key(&object)
}
