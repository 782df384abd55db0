//! Pools of the journal.

use std::sync::Arc;

use vsiflow_engine::model::{EntityId, EntityState};

use crate::fleet::{
    ErrorKind, Fleet, FleetError,
    index::qualified,
    unreadable::{LostState, WantedReading},
};
use crate::{
    phase,
    pool::{self, PoolRecord},
    record::{kind, pool_entity},
};

/// A pool of the journal.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct KnownPool {
    pub(in crate::fleet) entity: EntityId,
    pub(in crate::fleet) state: Arc<EntityState>,
    pub(in crate::fleet) wanted: PoolRecord,
}

impl KnownPool {
    pub(in crate::fleet) fn is_deleted(&self) -> bool {
        phase::is_gone(&self.entity, &self.state)
    }

    pub(in crate::fleet) fn is_deleting(&self) -> bool {
        [pool::DELETE, pool::FORGET].contains(&self.workflow())
    }

    pub(super) fn workflow(&self) -> &str {
        let desired = self.state.desired.as_ref();
        desired.map_or(pool::NAME, |desired| desired.workflow.as_str())
    }

    pub(in crate::fleet) fn generation(&self) -> u64 {
        let desired = self.state.desired.as_ref();
        desired.map_or(0, |desired| desired.generation)
    }

    /// `NAME`, or `NAMESPACE/NAME` outside the default namespace.
    pub(in crate::fleet) fn label(&self) -> String {
        match self.wanted.namespace.as_str() {
            "default" => self.wanted.name.clone(),
            _ => self.wanted.full_name(),
        }
    }

    fn is_named(&self, namespace: &str, name: &str) -> bool {
        let pool = &self.wanted;
        pool.namespace == namespace && (pool.name == name || self.entity.id() == name)
    }

    /// Whether a VSI of that name is, or would be, one of its members.
    pub(in crate::fleet) fn has_member_name(&self, namespace: &str, name: &str) -> bool {
        let number = pool::number_of(&self.wanted.name, name);
        self.wanted.namespace == namespace
            && number.is_some_and(|number| number < self.wanted.replicas)
    }
}

impl Fleet {
    /// All pools, deleted ones included, by namespace and name; and those that cannot be read.
    pub(in crate::fleet) async fn pools_and_lost(
        &self,
    ) -> Result<(Vec<KnownPool>, Vec<LostState>), FleetError> {
        let all = self.read_all::<PoolRecord>(kind::POOL).await?;
        let read = all.read.into_iter();
        let mut pools: Vec<_> = read
            .map(|(entity, state, wanted)| KnownPool {
                entity,
                state,
                wanted,
            })
            .collect();
        pools.sort_by(|a, b| {
            let place =
                |pool: &KnownPool| (pool.wanted.namespace.clone(), pool.wanted.name.clone());
            place(a).cmp(&place(b))
        });
        let lost = all.lost.into_iter();
        let lost = lost.filter(|(entity, state, _)| !phase::is_gone(entity, state));
        Ok((pools, lost.collect()))
    }

    /// The pools that are not deleted.
    pub(in crate::fleet) async fn living_pools(&self) -> Result<Vec<KnownPool>, FleetError> {
        let (mut pools, _) = self.pools_and_lost().await?;
        pools.retain(|pool| !pool.is_deleted());
        Ok(pools)
    }

    pub(in crate::fleet) async fn known_pool(
        &self,
        entity: &EntityId,
    ) -> Result<Option<KnownPool>, FleetError> {
        let Some(state) = self.engine.entity(entity) else {
            return Ok(None);
        };
        match self.read_wanted(entity, &state).await? {
            WantedReading::Wanted(wanted) => Ok(Some(KnownPool {
                entity: entity.clone(),
                state,
                wanted,
            })),
            WantedReading::Nothing => Ok(None),
            WantedReading::Lost(failure) => Err(FleetError::new(ErrorKind::Blocked, failure)),
        }
    }

    /// The pool of that name, or `NAMESPACE/NAME`, that is not deleted; else, with `deleted`, the newest
    /// that was.
    pub(in crate::fleet) async fn find_pool(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<KnownPool, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let (pools, lost) = self.pools_and_lost().await?;
        let mut named: Vec<_> = pools
            .into_iter()
            .filter(|pool| pool.is_named(namespace, name) && (deleted || !pool.is_deleted()))
            .collect();
        let created =
            |pool: &KnownPool| self.engine.times(&pool.entity).map(|(created, _)| created);
        named.sort_by_key(|pool| (!pool.is_deleted(), created(pool)));
        match (named.pop(), lost.into_iter().next()) {
            (Some(pool), _) => Ok(pool),
            // Nobody can tell whether that is the one.
            (None, Some((_, _, failure))) => Err(FleetError::new(ErrorKind::Blocked, failure)),
            (None, None) => Err(FleetError::not_found(kind::POOL, name)),
        }
    }

    /// Namespace and name of a pool.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub async fn title_of_pool(&self, entity: &EntityId) -> Result<(String, String), FleetError> {
        match self.known_pool(entity).await? {
            Some(pool) => Ok((pool.wanted.namespace, pool.wanted.name)),
            None => Err(FleetError::not_found(kind::POOL, entity.id())),
        }
    }

    /// The pools that these VSIs were or are members of, and are to have them: entity, namespace, name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn pools_of(
        &self,
        vsis: &[EntityId],
    ) -> Result<Vec<(EntityId, String, String)>, FleetError> {
        let mut found = std::collections::BTreeMap::new();
        for vsi in vsis {
            let known = self.known_of(vsi).await?;
            let Some(of) = known.and_then(|known| known.wanted.vsi.member_of) else {
                continue;
            };
            let entity = pool_entity(of.uid).map_err(|e| FleetError::defect(e.to_string()))?;
            let pool = self.known_pool(&entity).await?;
            let makes = |pool: &KnownPool| {
                let stays = !pool.is_deleted() && !pool.is_deleting();
                let left_out = pool.wanted.cordoned.contains(&of.number);
                stays && !left_out && of.number < pool.wanted.replicas
            };
            if let Some(pool) = pool.filter(makes) {
                found.insert(entity, (pool.wanted.namespace, pool.wanted.name));
            }
        }
        let found = found.into_iter();
        Ok(found
            .map(|(entity, (space, name))| (entity, space, name))
            .collect())
    }

    /// How many members these pools have and are to have, together.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn members_of_pools(&self, pools: &[EntityId]) -> Result<usize, FleetError> {
        let mut count = 0_usize;
        for entity in pools {
            if let Some(pool) = self.known_pool(entity).await? {
                count = count.saturating_add(self.count_members(&pool).await?);
            }
        }
        Ok(count)
    }

    /// The entity of a pool that is not deleted.
    ///
    /// # Errors
    /// When there is none of that name.
    pub async fn pool(&self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        Ok(self.find_pool(namespace, name, false).await?.entity)
    }
}
