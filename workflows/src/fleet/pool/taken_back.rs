//! Takes back the deletion of a pool, alone or with its group, because its user cancels it.
//!
//! Only what is not begun is taken back. A member of which something is deleted already goes, and the pool makes it again:
//! its data disks are then new, unless their `deletionPolicy` retained them. Journals of other processes are not asked: what
//! they were ordered to delete goes, too.

use vsiflow_engine::executor::By;

use crate::{
    fleet::{
        Fleet, FleetError, PoolHandle,
        apply::is_deleting,
        group::apply::groups_pool,
        known::{KnownPool, KnownRecord, NamedRecord},
        pool::apply::record_pool,
        store::DesiredUpdates,
    },
    pool::PoolRecord,
};

impl PoolHandle<'_> {
    /// Takes back the deletion of a pool. Returns whether it was being deleted.
    ///
    /// # Errors
    /// When there is no pool of that name, or a group made it.
    pub async fn cancel_deletion(
        self,
        namespace: &str,
        name: &str,
        by: By,
    ) -> Result<bool, FleetError> {
        let fleet = self.fleet;
        // No look may order the deletion of a member between what is taken back and the record.
        let one_look = fleet.pools.looking.lock().await;
        let known = fleet
            .find_record::<PoolRecord>(namespace, name, false)
            .await?;
        if let Some(of) = &known.record.of_group {
            return Err(groups_pool(&of.group, &known.record.full_name()));
        }
        let is_taken_back = Box::pin(fleet.take_back_pool(&known, by)).await?;
        drop(one_look);
        fleet.work_on_pools([known.entity]);
        Ok(is_taken_back)
    }
}

impl Fleet {
    /// Records a pool that is to be deleted as it was before, after its members and their data disks. Returns whether it
    /// was to be deleted. The caller holds the lock of a look.
    pub(in crate::fleet) async fn take_back_pool(
        &self,
        known: &KnownPool,
        by: By,
    ) -> Result<bool, FleetError> {
        if !self.voids_ending(known, &by).await? {
            return Ok(false);
        }
        // The disks first: what waits for the end of their member would begin once that is taken back.
        for disk in self.disks_of_pool(known.record.uid).await? {
            if disk.is_being_destroyed() {
                self.take_back_disk_deletion(&disk, &by).await?;
            }
        }
        for member in self.known_of_pool(known.record.uid).await? {
            if is_deleting(&member.state) && !member.is_deleted() {
                self.take_back_deletion(&member, &by).await?;
            }
        }
        let mut updates = DesiredUpdates::default();
        record_pool(known, &known.record, &mut updates)?;
        self.order_members(&mut updates);
        self.record(updates, by).await?;
        Ok(true)
    }

    /// Voids the order to delete a pool or a group. Returns whether it was to be deleted.
    pub(in crate::fleet) async fn voids_ending<R: NamedRecord>(
        &self,
        known: &KnownRecord<R>,
        by: &By,
    ) -> Result<bool, FleetError> {
        let [deletion, _] = R::ENDINGS;
        if known.workflow() != deletion {
            return Ok(false);
        }
        self.engine.cancel(known.entity.clone(), by.clone()).await?;
        Ok(true)
    }
}
