//! Cache of schedules and their snapshots: a record is read again only when its generation changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::de::DeserializeOwned;
use uuid::Uuid;
use vsiflow_engine::{
    journal::Offset,
    model::{EntityId, EntityState},
};

use crate::{
    fleet::{Fleet, FleetError, apply::is_deleting, unreadable::DesiredReading},
    phase::{Phase, is_gone},
    record::{
        ScheduleRecord, SnapshotRecord, VsiRecord, kind, schedule_entity, snapshot_entity,
        vsi_entity,
    },
    snapshot,
    spec::DesiredSnapshotPolicy,
};

/// The cached records. A new cache reads everything once.
#[derive(Default)]
pub struct SeenSchedules {
    vsis: Latest<Scheduled>,
    records: Latest<ScheduleRecord>,
    snapshots: Latest<Arc<SnapshotRecord>>,
    /// When a snapshot that cannot be taken was last tried, in ms, by the VSI's UID.
    tried: BTreeMap<Uuid, u64>,
    /// How many snapshots were begun since all of this was read, by host.
    begun: BTreeMap<String, usize>,
    /// The end of the journal when all of this was read; `None` if something could not be read.
    read_to: Option<Offset>,
}

/// A VSI with a schedule.
#[derive(Clone, Debug)]
pub(super) struct Scheduled {
    pub(super) uid: Uuid,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) host: String,
    pub(super) policy: DesiredSnapshotPolicy,
    /// The generation of the VSI that has this policy.
    pub(super) generation: u64,
}

impl Scheduled {
    /// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
    pub(super) fn label(&self) -> String {
        match self.namespace.as_str() {
            "default" => self.name.clone(),
            namespace => format!("{namespace}/{}", self.name),
        }
    }
}

/// A snapshot that a schedule took.
#[derive(Clone, Debug)]
pub(super) struct ScheduledSnapshot {
    pub(super) entity: EntityId,
    pub(super) state: Arc<EntityState>,
    pub(super) record: Arc<SnapshotRecord>,
    pub(super) due_ms: u64,
}

impl ScheduledSnapshot {
    pub(super) fn phase(&self) -> &str {
        let recorded = self.state.state.as_ref();
        recorded.map_or(Phase::Pending.as_str(), |(name, _)| name.as_str())
    }

    /// Whether its copies are still to be made.
    pub(super) fn is_open(&self) -> bool {
        ["Pending", "Creating", "Blocked"].contains(&self.phase())
    }
}

impl SeenSchedules {
    /// Reads what changed. Does nothing if nothing was recorded since.
    pub(super) async fn refresh(&mut self, fleet: &Fleet) -> Result<(), FleetError> {
        let end = fleet.engine.end();
        if self.read_to == Some(end) {
            return Ok(());
        }
        self.read_to = None;
        self.vsis.refresh(fleet, kind::VSI, scheduled).await?;
        self.records.refresh(fleet, kind::SCHEDULE, Some).await?;
        let shared = |record: SnapshotRecord| Some(Arc::new(record));
        let read = self.snapshots.refresh(fleet, kind::SNAPSHOT, shared);
        read.await?;
        let vsis = &self.vsis;
        self.tried.retain(|vsi, _| vsis.lives(&vsi_entity(*vsi)));
        self.begun.clear();
        let all = self.vsis.is_whole() && self.records.is_whole() && self.snapshots.is_whole();
        self.read_to = all.then_some(end);
        Ok(())
    }

    /// The VSIs that have a schedule and are not being deleted.
    pub(super) fn scheduled(&self) -> Vec<Scheduled> {
        let stays = |state: &EntityState| !is_deleting(state) && phase(state) != "Deleted";
        let all = self.vsis.iter().filter(|(_, state, _)| stays(state));
        let newest = |state: &EntityState| state.desired.as_ref().map_or(0, |of| of.generation);
        all.map(|(_, state, one)| Scheduled {
            generation: newest(state),
            ..one.clone()
        })
        .collect()
    }

    pub(super) fn record(&self, vsi: Uuid) -> Option<&ScheduleRecord> {
        let entity = schedule_entity(vsi).ok()?;
        self.records.0.get(&entity)?.value.as_ref()
    }

    /// The schedules of VSIs that have no policy any more.
    pub(super) fn without_policy(&self) -> Vec<ScheduleRecord> {
        let vsis: BTreeSet<_> = self.scheduled().into_iter().map(|vsi| vsi.uid).collect();
        let records = self.records.iter().map(|(_, _, record)| record);
        let gone =
            records.filter(|record| record.schedule.is_some() && !vsis.contains(&record.vsi));
        gone.cloned().collect()
    }

    /// The snapshots that schedules took.
    pub(super) fn snapshots(&self) -> impl Iterator<Item = ScheduledSnapshot> {
        let all = self.snapshots.iter();
        all.filter_map(|(entity, state, record)| shown(entity, state, record))
    }

    /// How many snapshots of schedules are being taken on a host, with those begun since the last read.
    pub(super) fn open_on(&self, host: &str) -> usize {
        let is_open = |taken: &ScheduledSnapshot| {
            taken.record.host == host && taken.is_open() && self.is_coming(taken)
        };
        let begun = self.begun.get(host).copied().unwrap_or_default();
        self.snapshots()
            .filter(is_open)
            .count()
            .saturating_add(begun)
    }

    /// Counts a snapshot as begun until everything is read again.
    pub(super) fn count_begun(&mut self, host: &str) {
        let begun = self.begun.entry(host.to_owned()).or_default();
        *begun = begun.saturating_add(1);
    }

    /// The snapshots, also those that users took, that were never begun and that no VSI waits for.
    pub(super) fn abandoned(&self) -> Vec<EntityId> {
        let snapshots = self.snapshots.iter();
        let abandoned = snapshots.filter(|(_, state, record)| {
            let is_pending = ["", Phase::Pending.as_str()].contains(&phase(state));
            let is_new = state.runs.is_empty() && state.active.is_none();
            let desired = state.desired.as_ref();
            let is_taken =
                desired.is_some_and(|desired| desired.workflow.as_str() == snapshot::NAME);
            is_pending && is_new && is_taken && self.is_settled(record.vsi)
        });
        abandoned.map(|(entity, ..)| entity.clone()).collect()
    }

    /// Whether the snapshot is being taken, or its VSI is about to begin it. Not while the VSI waits for
    /// a person, because that may last for ever.
    fn is_coming(&self, taken: &ScheduledSnapshot) -> bool {
        taken.state.active.is_some()
            || self.vsi(taken.record.vsi).is_some_and(|vsi| {
                let newest = vsi.state.desired.as_ref().map(|desired| desired.generation);
                let is_open = newest.is_some_and(|newest| newest != vsi.state.attempted);
                !vsi.state.is_settled() && (is_open || vsi.state.active.is_some())
            })
    }

    /// Whether a VSI is deleted, or has no unfinished work. One that cannot be read may have some.
    fn is_settled(&self, vsi: Uuid) -> bool {
        let readable = self.vsi(vsi).filter(|latest| !latest.is_lost);
        readable.is_some_and(|latest| latest.state.is_settled())
    }

    fn vsi(&self, vsi: Uuid) -> Option<&LatestOne<Scheduled>> {
        self.vsis.0.get(&vsi_entity(vsi).ok()?)
    }

    /// A snapshot that a schedule took, by UID.
    pub(super) fn snapshot(&self, uid: Uuid) -> Option<ScheduledSnapshot> {
        let entity = snapshot_entity(uid).ok()?;
        let one = self.snapshots.0.get(&entity)?;
        shown(&entity, &one.state, one.value.as_ref()?)
    }

    /// Whether to retry a snapshot, `again_ms` after the last try. Records the try.
    pub(super) fn tries(&mut self, vsi: Uuid, now_ms: u64, again_ms: u64) -> bool {
        let last = self.tried.get(&vsi);
        // Works also if the clock was set back.
        let waits = last.is_some_and(|last| now_ms.abs_diff(*last) < again_ms);
        if !waits {
            self.tried.insert(vsi, now_ms);
        }
        !waits
    }

    pub(super) fn forget_tries(&mut self, vsi: Uuid) {
        self.tried.remove(&vsi);
    }
}

fn shown(
    entity: &EntityId,
    state: &Arc<EntityState>,
    record: &Arc<SnapshotRecord>,
) -> Option<ScheduledSnapshot> {
    Some(ScheduledSnapshot {
        entity: entity.clone(),
        state: state.clone(),
        record: record.clone(),
        due_ms: record.due_ms?,
    })
}

fn scheduled(record: VsiRecord) -> Option<Scheduled> {
    Some(Scheduled {
        uid: record.uid,
        policy: record.vsi.snapshot_policy?,
        namespace: record.vsi.namespace,
        name: record.vsi.name,
        host: record.vsi.host,
        generation: 0,
    })
}

fn phase(state: &EntityState) -> &str {
    state.state.as_ref().map_or("", |(name, _)| name.as_str())
}

/// The records of all entities of a kind, with their generations.
struct Latest<T>(BTreeMap<EntityId, LatestOne<T>>);

struct LatestOne<T> {
    /// `None` if there is no desired state, or it could not be read.
    generation: Option<u64>,
    /// Whether it could not be read.
    is_lost: bool,
    state: Arc<EntityState>,
    value: Option<T>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T> Latest<T> {
    async fn refresh<R: DeserializeOwned>(
        &mut self,
        fleet: &Fleet,
        kind: &str,
        of: impl Fn(R) -> Option<T>,
    ) -> Result<(), FleetError> {
        let mut now = BTreeMap::new();
        for (entity, state) in fleet.entities_of(kind) {
            let generation = state.desired.as_ref().map(|desired| desired.generation);
            let before = self.0.remove(&entity);
            let same = before.filter(|one| generation.is_some() && one.generation == generation);
            let one = match same {
                Some(one) => LatestOne { state, ..one },
                None => {
                    let read: DesiredReading<R> = fleet.read_desired(&entity, &state).await?;
                    let is_lost = matches!(read, DesiredReading::Lost(_));
                    let (generation, value) = match read {
                        DesiredReading::Record(record) => (generation, of(record)),
                        DesiredReading::Nothing => (generation, None),
                        DesiredReading::Lost(_) => (None, None),
                    };
                    LatestOne {
                        generation,
                        is_lost,
                        state,
                        value,
                    }
                }
            };
            now.insert(entity, one);
        }
        self.0 = now;
        Ok(())
    }

    /// Whether everything that exists could be read.
    fn is_whole(&self) -> bool {
        let mut all = self.0.iter();
        all.all(|(entity, one)| !one.is_lost || is_gone(entity, &one.state))
    }

    /// Whether an entity exists and is not deleted.
    fn lives<E>(&self, entity: &Result<EntityId, E>) -> bool {
        let Ok(entity) = entity else { return false };
        let latest = self.0.get(entity);
        latest.is_some_and(|latest| !is_gone(entity, &latest.state))
    }

    fn iter(&self) -> impl Iterator<Item = (&EntityId, &Arc<EntityState>, &T)> {
        let all = self.0.iter();
        all.filter_map(|(entity, one)| Some((entity, &one.state, one.value.as_ref()?)))
    }
}
