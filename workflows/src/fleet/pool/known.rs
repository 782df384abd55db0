//! Looks up pools and their members in the journal.

use vsiflow_engine::model::EntityId;

use crate::{
    fleet::{FleetError, PoolHandle, known::KnownPool},
    pool::{self, PoolRecord},
    record::{kind, pool_entity},
};

impl KnownPool {
    /// Whether this pool has, or should have, a member of that name.
    pub(in crate::fleet) fn has_member_name(&self, namespace: &str, name: &str) -> bool {
        let number = pool::number_of(&self.record.name, name);
        self.record.namespace == namespace
            && number.is_some_and(|number| number < self.record.replicas)
    }
}

impl PoolHandle<'_> {
    /// The namespace and name of a pool.
    ///
    /// # Errors
    /// When the pool does not exist, or cannot be read.
    pub async fn title(self, entity: &EntityId) -> Result<(String, String), FleetError> {
        match self.fleet.known_record::<PoolRecord>(entity).await? {
            Some(pool) => Ok((pool.record.namespace, pool.record.name)),
            None => Err(FleetError::not_found(kind::POOL, entity.id())),
        }
    }

    /// The pools that should have these VSIs as members, and that will make them again: entity,
    /// namespace, name.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn of_vsis(
        self,
        vsis: &[EntityId],
    ) -> Result<Vec<(EntityId, String, String)>, FleetError> {
        let mut found = std::collections::BTreeMap::new();
        for vsi in vsis {
            let known = self.fleet.known_of(vsi).await?;
            let Some(of) = known.and_then(|known| known.record.vsi.member_of.clone()) else {
                continue;
            };
            let entity = pool_entity(of.uid).map_err(|e| FleetError::defect(e.to_string()))?;
            let pool = self.fleet.known_record::<PoolRecord>(&entity).await?;
            let makes = |maker: &KnownPool| {
                let stays = !maker.is_deleted() && !maker.is_deleting();
                let left_out = maker.record.cordoned.contains(&of.number);
                stays && !left_out && of.number < maker.record.replicas
            };
            if let Some(pool) = pool.filter(makes) {
                found.insert(entity, (pool.record.namespace, pool.record.name));
            }
        }
        let found = found.into_iter();
        Ok(found
            .map(|(entity, (space, name))| (entity, space, name))
            .collect())
    }

    /// The entity of a pool that is not deleted.
    ///
    /// # Errors
    /// When there is no pool of that name.
    pub async fn find(self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        Ok(self
            .fleet
            .find_record::<PoolRecord>(namespace, name, false)
            .await?
            .entity)
    }
}
