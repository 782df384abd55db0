//! Commands for pools: scale, rollback, approve, cordon, delete and retry.

use std::collections::BTreeSet;

use vsiflow_engine::{
    executor::By,
    model::{EntityId, EntityState, Failure, FailureClass},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, PoolHandle,
    apply::is_deleting,
    group::{apply::groups_pool, known::record_group},
    known::KnownPool,
    pool::{
        apply::record_pool,
        size::{refuse_large_group, refuse_large_record},
        template,
    },
    store::DesiredUpdates,
};
use crate::{
    group::GroupRecord,
    orders,
    plan::Plan,
    pool::{self, PoolRecord},
    record::{group_entity, kind},
    spec::pool::check_replicas,
};

impl PoolHandle<'_> {
    /// Records how many members a pool should have, and starts to work on it.
    ///
    /// # Errors
    /// When there is no pool of that name, it is being deleted, the number is not valid, or a VSI that
    /// the pool did not make has the name of a new member.
    pub async fn scale(
        self,
        namespace: &str,
        name: &str,
        replicas: i64,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let known = self.fleet.pool_to_change(namespace, name).await?;
        self.fleet.refuse_owned_elsewhere(&known)?;
        let replicas = check_replicas(i128::from(replicas)).map_err(|message| {
            let failure = Failure::new(FailureClass::Blocked, "VSI0727", message)
                .of_object(format!("pool/{}", known.record.full_name()))
                .with_remedy("choose a number within these bounds; nothing was changed");
            FleetError::new(ErrorKind::Blocked, failure)
        })?;
        let (uid, recorded_namespace) = (known.record.uid, &known.record.namespace);
        let (more, pool) = (known.record.replicas..replicas, &known.record.name);
        self.fleet
            .refuse_foreign(uid, recorded_namespace, pool, more)
            .await?;
        let mut record = PoolRecord {
            replicas,
            ..known.record.clone()
        };
        refuse_large_record(&known.record, &record)?;
        Box::pin(self.fleet.refuse_unplaceable(&record, 0..replicas)).await?;
        let of_group = self
            .fleet
            .scaled_group(&known, replicas, &mut record)
            .await?;
        self.fleet.record_with(known, &record, of_group, by).await
    }

    /// Records that members are made from the previous template again, and starts to work on it.
    /// Returns the plan for each member.
    ///
    /// # Errors
    /// When there is no pool of that name, it is being deleted, or it had no other template.
    pub async fn rollback(
        self,
        namespace: &str,
        name: &str,
        by: By,
    ) -> Result<(EntityId, Plan), FleetError> {
        let known = self.fleet.pool_to_change(namespace, name).await?;
        self.fleet.refuse_owned_elsewhere(&known)?;
        if let Some(of) = &known.record.of_group {
            return Err(groups_pool(&of.group, &known.record.full_name()));
        }
        let Some(previous) = known.record.previous_to_return_to() else {
            let failure =
                Failure::new(FailureClass::Blocked, "VSI0722", "it had no other template")
                    .of_object(format!("pool/{}", known.record.full_name()))
                    .with_remedy("apply a document with the template that you need");
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        };
        let of_template = template::plan(&known.record.template, &previous);
        let mut record = known.record.clone();
        self.fleet
            .replace_template(&known, &mut record, previous)
            .await?;
        let before = &known.record;
        let plan = self
            .fleet
            .plan_of_members(before, &record, of_template)
            .await?;
        let entity = self.fleet.record_change(known, &record, by).await?;
        Ok((entity, plan))
    }

    /// Approves the proposed template of a pool, for all of its members.
    ///
    /// # Errors
    /// When there is no pool of that name, it is being deleted, or no change waits for approval.
    pub async fn approve(
        self,
        namespace: &str,
        name: &str,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let known = self.fleet.pool_to_change(namespace, name).await?;
        let Some(proposed) = known.record.proposed.clone() else {
            let message = "no change of it waits for approval";
            let failure = Failure::new(FailureClass::Blocked, "VSI0704", message)
                .of_object(format!("pool/{}", known.record.full_name()))
                .with_remedy("apply a document that changes its template");
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        };
        let mut record = known.record.clone();
        self.fleet
            .replace_template(&known, &mut record, proposed)
            .await?;
        self.fleet.record_change(known, &record, by).await
    }

    /// Excludes a member from rollouts and from being made again, or includes it again. Returns its
    /// pool.
    ///
    /// # Errors
    /// When no pool has, or should have, a member of that name.
    pub async fn cordon_member(
        self,
        namespace: &str,
        name: &str,
        on: bool,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let (namespace, name) = crate::fleet::object::qualified(namespace, name);
        let mut pools = self.fleet.living::<PoolRecord>().await?.into_iter();
        let found = pools.find(|pool| pool.has_member_name(namespace, name));
        let number = found.as_ref();
        let number = number.and_then(|pool| pool::number_of(&pool.record.name, name));
        let (Some(known), Some(number)) = (found, number) else {
            let failure = Failure::new(
                FailureClass::Blocked,
                "VSI0723",
                "no pool has a member of this name",
            )
            .of_object(format!("vsi/{name}"))
            .with_remedy(
                "`vsiflow describe pool/NAME` lists members; hosts have `vsiflow host cordon`",
            );
            return Err(FleetError::new(ErrorKind::NotFound, failure));
        };
        let mut cordoned: BTreeSet<u32> = known.record.cordoned.clone();
        if on {
            cordoned.insert(number)
        } else {
            cordoned.remove(&number)
        };
        let record = PoolRecord {
            cordoned,
            ..known.record.clone()
        };
        self.fleet.record_change(known, &record, by).await
    }

    /// Records that a pool is to be deleted with its members, the highest number first, and starts to
    /// delete it. Data disks follow their `deletionPolicy`. With `orphan`, hosts are not contacted and
    /// everything remains there.
    ///
    /// # Errors
    /// When there is no pool of that name.
    pub async fn delete(
        self,
        namespace: &str,
        name: &str,
        orphan: bool,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let known = self
            .fleet
            .find_record::<PoolRecord>(namespace, name, false)
            .await?;
        let workflow = if orphan { pool::FORGET } else { pool::DELETE };
        if !orders::deletes_already(&known.entity, &known.state, workflow) {
            self.fleet.delete_leaving_again(&known, orphan, &by).await?;
            self.fleet.record_ending(&known, workflow, by).await?;
        }
        self.fleet.work_on_pools([known.entity.clone()]);
        Ok(known.entity)
    }
}

impl Fleet {
    /// Orders again to delete the members and data disks of a pool that were being deleted when the journal was
    /// restored: its controller orders each of them once.
    pub(in crate::fleet) async fn delete_leaving_again(
        &self,
        pool: &KnownPool,
        orphan: bool,
        by: &By,
    ) -> Result<(), FleetError> {
        let namespace = &pool.record.namespace;
        let is_void =
            |entity: &EntityId, state: &EntityState| !orders::deletion_is_ordered(entity, state);
        for member in self.known_of_pool(pool.record.uid).await? {
            if is_deleting(&member.state) && is_void(&member.entity, &member.state) {
                let uid = member.entity.id();
                let deleted = self.vsis().delete(namespace, uid, orphan, by.clone());
                Box::pin(deleted).await?;
            }
        }
        for disk in self.disks_of_pool(pool.record.uid).await? {
            if disk.is_deleting() && is_void(&disk.entity, &disk.state) {
                let uid = disk.entity.id();
                let deleted = self.disks().delete(namespace, uid, orphan, by.clone());
                Box::pin(deleted).await?;
            }
        }
        Ok(())
    }

    /// Retries the stuck members of a pool immediately.
    ///
    /// # Errors
    /// When the journal fails.
    pub(in crate::fleet) async fn retry_pool(
        &self,
        entity: &EntityId,
        by: &By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let Some(known) = self.known_record::<PoolRecord>(entity).await? else {
            return Ok(Vec::new());
        };
        let open = self.members(&known).await?.unsettled();
        for member in &open {
            for awaited in self.awaited_by(member).await? {
                self.engine.retry(awaited, by.clone()).await?;
            }
            self.engine.retry(member.clone(), by.clone()).await?;
        }
        self.work_on_pools([entity.clone()]);
        Ok(open)
    }

    async fn pool_to_change(&self, namespace: &str, name: &str) -> Result<KnownPool, FleetError> {
        self.engine.takes_updates()?;
        let known = self
            .find_record::<PoolRecord>(namespace, name, false)
            .await?;
        if known.is_deleting() {
            return Err(FleetError::going_of(kind::POOL, &known.record.full_name()));
        }
        if self.is_held(&known) {
            return Err(FleetError::new(ErrorKind::Blocked, known.not_ordered()));
        }
        Ok(known)
    }

    /// Updates the number of members in the pool's group as well: both are recorded, or neither.
    async fn scaled_group(
        &self,
        known: &KnownPool,
        replicas: u32,
        record: &mut PoolRecord,
    ) -> Result<DesiredUpdates, FleetError> {
        let mut updates = DesiredUpdates::default();
        let Some(of) = &mut record.of_group else {
            return Ok(updates);
        };
        let entity = group_entity(of.uid).map_err(|error| FleetError::defect(error.to_string()))?;
        let Some(group) = self.known_record::<GroupRecord>(&entity).await? else {
            return Ok(updates);
        };
        if group.is_deleting() {
            return Err(FleetError::going_of(kind::GROUP, &group.record.full_name()));
        }
        let mut group_record = group.record.clone();
        let items = group_record
            .waves
            .iter_mut()
            .flat_map(|wave| &mut wave.items);
        for item in items.filter(|item| item.name == of.item) {
            if item.single {
                return Err(groups_pool(&of.group, &known.record.full_name()));
            }
            let is_current = of.revision == item.revision();
            item.replicas = Some(replicas);
            if is_current {
                of.revision = item.revision();
            }
        }
        if group_record != group.record {
            refuse_large_group(&group.record, &group_record)?;
            record_group(&group, &group_record, &mut updates)?;
        }
        Ok(updates)
    }

    async fn record_change(
        &self,
        known: KnownPool,
        record: &PoolRecord,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let nothing = DesiredUpdates::default();
        self.record_with(known, record, nothing, by).await
    }

    async fn record_with(
        &self,
        known: KnownPool,
        record: &PoolRecord,
        mut updates: DesiredUpdates,
        by: By,
    ) -> Result<EntityId, FleetError> {
        if *record != known.record {
            refuse_large_record(&known.record, record)?;
            let _turn = self.quota_turn_of_pool().await;
            Box::pin(self.refuse_pool_over_quota(record)).await?;
            record_pool(&known, record, &mut updates)?;
            self.record(updates, by).await?;
        }
        self.work_on_pools([known.entity.clone()]);
        Ok(known.entity)
    }
}
