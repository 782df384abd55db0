//! Shows pools with members in several journals.

use std::collections::BTreeMap;

use crate::{
    fleet::{
        Fleet, FleetError, PoolHandle, PoolObject,
        known::KnownPool,
        pool::members::{MemberTarget, PoolMembers},
    },
    pool::{MemberState, PoolRecord},
    record::kind,
};

/// Another journal of the set, opened for reading.
#[derive(Clone, Copy)]
pub struct OtherJournal<'f> {
    /// Its fleet.
    pub fleet: &'f Fleet,
    /// Whether a process works on it; otherwise the state of its members may be old.
    pub is_held: bool,
}

impl PoolHandle<'_> {
    /// All pools, with the members that are in other journals.
    ///
    /// # Errors
    /// When a journal cannot be read.
    pub async fn list_over(
        self,
        deleted: bool,
        others: &[OtherJournal<'_>],
    ) -> Result<Vec<PoolObject>, FleetError> {
        let (pools, lost) = self.fleet.known_records::<PoolRecord>().await?;
        let mut objects = Vec::new();
        for pool in pools.iter().filter(|pool| deleted || !pool.is_deleted()) {
            objects.push(Box::pin(self.fleet.pool_object_over(pool, others)).await?);
        }
        objects.extend(self.fleet.lost_pools(lost).await);
        Ok(objects)
    }

    /// One pool; a deleted one if no other has that name.
    ///
    /// # Errors
    /// When there is no pool of that name, or a journal cannot be read.
    pub async fn get_over(
        self,
        namespace: &str,
        name: &str,
        others: &[OtherJournal<'_>],
    ) -> Result<PoolObject, FleetError> {
        if let Some(lost) = self.fleet.lost_one(kind::POOL, namespace, name).await? {
            return Ok(self.fleet.lost_pool(&lost));
        }
        let pool = self
            .fleet
            .find_record::<PoolRecord>(namespace, name, true)
            .await?;
        Box::pin(self.fleet.pool_object_over(&pool, others)).await
    }
}

impl Fleet {
    async fn pool_object_over(
        &self,
        pool: &KnownPool,
        others: &[OtherJournal<'_>],
    ) -> Result<PoolObject, FleetError> {
        if let Some(lost) = self.partly_lost_pool(pool).await? {
            return Ok(lost);
        }
        let (found, obstacles) = Box::pin(self.members_over(pool, others)).await?;
        Ok(self.pool_object_of(pool, &found, &obstacles))
    }

    /// The members of a pool, and the obstacles of those in other journals, by number.
    pub(in crate::fleet) async fn members_over(
        &self,
        pool: &KnownPool,
        others: &[OtherJournal<'_>],
    ) -> Result<(PoolMembers, BTreeMap<u32, String>), FleetError> {
        let mut found = self.members(pool).await?;
        let mut obstacles = BTreeMap::new();
        for other in others {
            Box::pin(other.add_members(pool, &mut found, &mut obstacles)).await?;
        }
        Ok((found, obstacles))
    }
}

impl OtherJournal<'_> {
    /// Adds the members that are in this journal.
    async fn add_members(
        self,
        pool: &KnownPool,
        found: &mut PoolMembers,
        obstacles: &mut BTreeMap<u32, String>,
    ) -> Result<(), FleetError> {
        let record = &pool.record;
        for known in self.fleet.known_of_pool(record.uid).await? {
            let number = known.record.vsi.member_of.as_ref().map(|of| of.number);
            let Some(number) = number else { continue };
            let mut view = self.fleet.member_view(MemberTarget::of(record), &known);
            if !self.is_held {
                view.state = MemberState::Unknown;
            }
            let obstacle = self.fleet.obstacle(&known.entity);
            obstacles.extend(obstacle.map(|failure| (number, failure.to_string())));
            found.view.members.insert(number, view);
            found.members.insert(number, known);
        }
        if !found.view.deleting {
            let end = record.replicas.saturating_add(record.strategy.max_surge);
            let own = (record.uid, record.namespace.as_str(), record.name.as_str());
            let foreign = self.fleet.foreign(own, 0..end).await?;
            found.view.foreign.extend(foreign.keys());
        }
        found
            .view
            .foreign
            .retain(|number| !found.members.contains_key(number));
        Ok(())
    }
}
