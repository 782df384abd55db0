//! Commands for groups: delete and take that back, scale and retry.

use vsiflow_engine::{executor::By, model::EntityId};

use crate::fleet::{
    Fleet, FleetError, GroupHandle, group::known::record_group, store::DesiredUpdates,
};
use crate::{
    group::{self, GroupRecord},
    orders,
};

impl GroupHandle<'_> {
    /// Records that a group is to be deleted with everything that was made for it, the newest wave
    /// first, and starts to delete it. Data disks follow their `deletionPolicy`. With `orphan`, hosts
    /// are not contacted and everything remains there.
    ///
    /// # Errors
    /// When there is no group of that name.
    pub async fn delete(
        self,
        namespace: &str,
        name: &str,
        orphan: bool,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let known = self
            .fleet
            .find_record::<GroupRecord>(namespace, name, false)
            .await?;
        let workflow = if orphan { group::FORGET } else { group::DELETE };
        if !orders::deletes_already(&known.entity, &known.state, workflow) {
            for pool in self.fleet.pools_of_group(known.record.uid).await?.values() {
                let again = self.fleet.delete_leaving_again(pool, orphan, &by);
                again.await?;
            }
            self.fleet.record_ending(&known, workflow, by).await?;
        }
        self.fleet.work_on_pools([known.entity.clone()]);
        Ok(known.entity)
    }

    /// Takes back the deletion of a group, with those of its pools. Returns whether it was being deleted.
    ///
    /// # Errors
    /// When there is no group of that name.
    pub async fn cancel_deletion(
        self,
        namespace: &str,
        name: &str,
        by: By,
    ) -> Result<bool, FleetError> {
        let fleet = self.fleet;
        // No look may order the deletion of a pool between what is taken back and the record.
        let one_look = fleet.pools.looking.lock().await;
        let known = fleet
            .find_record::<GroupRecord>(namespace, name, false)
            .await?;
        if !fleet.voids_ending(&known, &by).await? {
            return Ok(false);
        }
        for (item, pool) in fleet.pools_of_group(known.record.uid).await? {
            if !known.record.removed.contains(&item) {
                Box::pin(fleet.take_back_pool(&pool, by.clone())).await?;
            }
        }
        let mut updates = DesiredUpdates::default();
        record_group(&known, &known.record, &mut updates)?;
        fleet.order_members(&mut updates);
        fleet.record(updates, by).await?;
        drop(one_look);
        fleet.work_on_pools([known.entity]);
        Ok(true)
    }

    /// Records how many members a pool of a group should have, and starts to work on it.
    ///
    /// # Errors
    /// When there is no such group or pool, it is being deleted, or the number is not valid.
    pub async fn scale(
        self,
        namespace: &str,
        name: &str,
        pool: &str,
        replicas: i64,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let known = self
            .fleet
            .find_record::<GroupRecord>(namespace, name, false)
            .await?;
        let pool = group::pool_name(&known.record.name, pool);
        let recorded_namespace = &known.record.namespace;
        self.fleet
            .pools()
            .scale(recorded_namespace, &pool, replicas, by)
            .await?;
        self.fleet.work_on_pools([known.entity.clone()]);
        Ok(known.entity)
    }
}

impl Fleet {
    /// Retries the stuck members of a group immediately.
    ///
    /// # Errors
    /// When the journal fails.
    pub(in crate::fleet) async fn retry_group(
        &self,
        entity: &EntityId,
        by: &By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let Some(known) = self.known_record::<GroupRecord>(entity).await? else {
            return Ok(Vec::new());
        };
        let mut open = Vec::new();
        for pool in self.pools_of_group(known.record.uid).await?.values() {
            open.extend(Box::pin(self.retry_pool(&pool.entity, by)).await?);
        }
        self.work_on_pools([entity.clone()]);
        Ok(open)
    }
}
