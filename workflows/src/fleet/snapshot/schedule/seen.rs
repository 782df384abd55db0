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
    record::{ScheduleRecord, SnapshotRecord, VsiRecord, kind, schedule_entity, snapshot_entity},
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
        let of_schedule = |record: SnapshotRecord| record.due_ms.map(|_| Arc::new(record));
        self.snapshots
            .refresh(fleet, kind::SNAPSHOT, of_schedule)
            .await?;
        let all = self.vsis.is_whole() && self.records.is_whole() && self.snapshots.is_whole();
        self.read_to = all.then_some(end);
        Ok(())
    }

    /// The VSIs that have a schedule and are not being deleted.
    pub(super) fn scheduled(&self) -> Vec<Scheduled> {
        let stays = |state: &EntityState| !is_deleting(state) && phase(state) != "Deleted";
        let all = self.vsis.iter().filter(|(_, state, _)| stays(state));
        all.map(|(_, _, one)| one.clone()).collect()
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

    fn iter(&self) -> impl Iterator<Item = (&EntityId, &Arc<EntityState>, &T)> {
        let all = self.0.iter();
        all.filter_map(|(entity, one)| Some((entity, &one.state, one.value.as_ref()?)))
    }
}
