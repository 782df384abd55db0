//! Looks up groups, their pools and their members in the journal.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState, Precedence};

use crate::{
    fleet::{
        Fleet, FleetError, GroupHandle,
        known::{KnownGroup, KnownPool},
        store::DesiredUpdates,
        unreadable::DesiredReading,
    },
    group::{self, GroupRecord},
    phase,
    pool::PoolRecord,
    record::{group_entity, kind},
};

/// Which group makes each pool, with the generation of the record that says so: a group reads its own pools alone.
#[derive(Default)]
pub(in crate::fleet) struct PoolMakers(Mutex<BTreeMap<EntityId, PoolMaker>>);

#[derive(Clone, Copy)]
struct PoolMaker {
    generation: u64,
    /// `None` if the pool has a document of its own.
    group: Option<Uuid>,
}

impl PoolMakers {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<EntityId, PoolMaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The group that makes a pool; `None` if its newest record is to be read.
    fn get(&self, pool: &EntityId, state: &EntityState) -> Option<Option<Uuid>> {
        let desired = state.desired.as_ref()?;
        let maker = self.lock().get(pool).copied();
        let maker = maker.filter(|maker| maker.generation == desired.generation);
        maker.map(|maker| maker.group)
    }

    fn put(&self, pool: &EntityId, state: &EntityState, group: Option<Uuid>) {
        if let Some(desired) = &state.desired {
            let generation = desired.generation;
            let maker = PoolMaker { generation, group };
            self.lock().insert(pool.clone(), maker);
        }
    }

    fn forget(&self, pool: &EntityId) {
        self.lock().remove(pool);
    }
}

impl KnownGroup {
    /// Whether this group makes, or would make, a pool of that name. Not one that it removed for good.
    pub(in crate::fleet) fn has_pool_name(&self, namespace: &str, name: &str) -> bool {
        let record = &self.record;
        let items = record.items();
        let mut stay = items.filter(|item| !record.removed.contains(&item.name));
        record.namespace == namespace
            && stay.any(|item| group::pool_name(&record.name, &item.name) == name)
    }
}

/// Records a new state of a group; secrets that it no longer refers to are then erased.
pub(in crate::fleet) fn record_group(
    known: &KnownGroup,
    record: &GroupRecord,
    updates: &mut DesiredUpdates,
) -> Result<(), FleetError> {
    let needed = record.secrets();
    let before = known.record.secrets();
    updates.retire(&known.entity, before.difference(&needed));
    let (entity, newest) = (known.entity.clone(), Some(known.generation()));
    updates.add(entity, group::NAME, Precedence::Record, record, newest)
}

impl GroupHandle<'_> {
    /// The namespace and name of a group.
    ///
    /// # Errors
    /// When the group does not exist, or cannot be read.
    pub async fn title(self, entity: &EntityId) -> Result<(String, String), FleetError> {
        match self.fleet.known_record::<GroupRecord>(entity).await? {
            Some(group) => Ok((group.record.namespace, group.record.name)),
            None => Err(FleetError::not_found(kind::GROUP, entity.id())),
        }
    }

    /// The entity of a group that is not deleted.
    ///
    /// # Errors
    /// When there is no group of that name.
    pub async fn find(self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        Ok(self
            .fleet
            .find_record::<GroupRecord>(namespace, name, false)
            .await?
            .entity)
    }

    /// The members and pools that a group removed for good, by their names within the group; none of an unknown group.
    ///
    /// # Errors
    /// When the group cannot be read.
    pub async fn removed_items(self, group: Uuid) -> Result<BTreeSet<String>, FleetError> {
        let entity = group_entity(group).map_err(|e| FleetError::defect(e.to_string()))?;
        let known = self.fleet.known_record::<GroupRecord>(&entity).await?;
        Ok(known.map(|known| known.record.removed).unwrap_or_default())
    }
}

impl Fleet {
    /// The pools of a group that are not deleted, by their names within the group.
    pub(in crate::fleet) async fn pools_of_group(
        &self,
        group: Uuid,
    ) -> Result<BTreeMap<String, KnownPool>, FleetError> {
        let mut own = BTreeMap::new();
        for (entity, state) in self.entities_of(kind::POOL) {
            if phase::is_gone(&entity, &state) {
                self.pools.makers.forget(&entity);
                continue;
            }
            let maker = self.pools.makers.get(&entity, &state);
            if maker.is_some_and(|maker| maker != Some(group)) {
                continue;
            }
            let read = self.read_desired::<PoolRecord>(&entity, &state).await?;
            let DesiredReading::Record(record) = read else {
                continue;
            };
            let of = record.of_group.as_ref();
            self.pools.makers.put(&entity, &state, of.map(|of| of.uid));
            if let Some(of) = of.filter(|of| of.uid == group) {
                let item = of.item.clone();
                let pool = KnownPool {
                    entity,
                    state,
                    record,
                };
                own.insert(item, pool);
            }
        }
        Ok(own)
    }

    /// How many members a group has or should have; a group without members counts as one.
    pub(in crate::fleet) async fn count_group(
        &self,
        group: &KnownGroup,
    ) -> Result<usize, FleetError> {
        let mut pools = self.pools_of_group(group.record.uid).await?;
        let mut count = 0_usize;
        for item in group.record.items() {
            let members = match pools.remove(&item.name) {
                Some(pool) => self.count_members(&pool).await?,
                None if group.record.removed.contains(&item.name) => 0,
                None => usize::try_from(item.replicas.unwrap_or(1)).unwrap_or(usize::MAX),
            };
            count = count.saturating_add(members);
        }
        Ok(count.max(1))
    }
}
