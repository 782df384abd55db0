//! Cache of counted usage: a record is read again only when its generation changes.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState};

use super::count::{Taker, of_disk, of_vsi};
use crate::{
    quota::Usage,
    record::{DiskRecord, VsiRecord},
};

/// The usage of a VSI or data disk, and its namespace.
#[derive(Clone, Debug)]
pub(super) struct CountedUsage {
    pub(super) namespace: String,
    pub(super) taker: Taker,
    /// The pool that it is a member of. A data disk is one of its own, also that of a member: it may stay without it.
    pub(super) member_of: Option<Uuid>,
    /// The number of the member.
    pub(super) number: Option<u32>,
    pub(super) usage: Usage,
}

impl CountedUsage {
    /// The larger of its desired state and its proposed one.
    pub(super) fn of_vsi(record: &VsiRecord) -> Self {
        let (vsi, mut usage) = (&record.vsi, of_vsi(&record.vsi));
        if let Some(proposed) = &record.proposed {
            usage = usage.max(of_vsi(&proposed.vsi));
        }
        Self {
            namespace: vsi.namespace.clone(),
            taker: Taker::Vsi(vsi.name.clone()),
            member_of: vsi.member_of.as_ref().map(|of| of.uid),
            number: vsi.member_of.as_ref().map(|of| of.number),
            usage,
        }
    }

    pub(super) fn of_disk(record: &DiskRecord) -> Self {
        let disk = &record.disk;
        Self {
            namespace: disk.namespace.clone(),
            taker: Taker::Disk(disk.name.clone()),
            member_of: None,
            number: None,
            usage: of_disk(disk),
        }
    }
}

/// The usage of each entity, with the generation of the record that it was counted from.
#[derive(Default)]
pub(super) struct Counts(Mutex<BTreeMap<EntityId, (u64, CountedUsage)>>);

impl Counts {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EntityId, (u64, CountedUsage)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, entity: &EntityId, state: &EntityState) -> Option<CountedUsage> {
        let desired = state.desired.as_ref()?;
        let all = self.lock();
        let (generation, counted) = all.get(entity)?;
        (*generation == desired.generation).then(|| counted.clone())
    }

    /// Drops the usage of a deleted entity.
    pub(super) fn forget(&self, entity: &EntityId) {
        self.lock().remove(entity);
    }

    pub(super) fn put(&self, entity: &EntityId, state: &EntityState, counted: &CountedUsage) {
        if let Some(desired) = &state.desired {
            let read = (desired.generation, counted.clone());
            self.lock().insert(entity.clone(), read);
        }
    }
}
