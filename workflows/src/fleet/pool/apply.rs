//! Applies the documents of pools.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass, Precedence};

use crate::fleet::{
    Applied, Change, ErrorKind, Fleet, FleetError,
    index::Known,
    known::KnownPool,
    pool::{
        plan::{ordered_again, own_fields},
        reconcile::taken,
        template::{self, record},
    },
    store::DesiredUpdates,
};
use crate::{
    plan::{Plan, PlannedChange},
    pool::{self, MemberOf, PoolRecord, PoolView, TemplateRecord, member_disk_name, member_name},
    record::{kind, pool_entity},
    spec::{DeletionPolicy, DesiredDataDisk, DesiredVsi, Resolved, ResolvedPool, UpdatePolicy},
    update_vsi,
};

/// The change that a pool's document makes.
struct PoolDraft {
    record: PoolRecord,
    fields: Vec<PlannedChange>,
    plan: Plan,
    awaits_approval: bool,
}

impl Fleet {
    /// Works out the change of each pool document and adds updates to `updates`. A `dry` run stores
    /// nothing.
    pub(in crate::fleet) async fn draft_pools(
        &self,
        resolved: &Resolved,
        updates: &mut DesiredUpdates,
        dry: bool,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        if resolved.pools.is_empty() {
            return Ok(all);
        }
        let known = self.living::<PoolRecord>().await?;
        for pool in &resolved.pools {
            all.push(match matching(pool, &known) {
                None => Box::pin(self.create_pool(pool, updates, dry)).await?,
                Some(known) => Box::pin(self.change_pool(pool, known, updates, dry)).await?,
            });
        }
        Ok(all)
    }

    async fn create_pool(
        &self,
        pool: &ResolvedPool,
        updates: &mut DesiredUpdates,
        dry: bool,
    ) -> Result<Applied, FleetError> {
        let mut applied = applied(pool, Change::Created);
        if dry {
            return Ok(applied);
        }
        let desired = &pool.desired;
        let uid = desired.uid.unwrap_or_else(Uuid::new_v4);
        let record = PoolRecord {
            uid,
            namespace: desired.namespace.clone(),
            name: desired.name.clone(),
            labels: desired.labels.clone(),
            replicas: desired.replicas.unwrap_or(1),
            strategy: desired.strategy,
            update_policy: desired.update_policy,
            template: self.template(pool, None, false).await?,
            previous: None,
            rolled_out: None,
            outdated: Vec::new(),
            proposed: None,
            cordoned: BTreeSet::new(),
            evicting: BTreeMap::new(),
            of_group: desired.of_group.clone(),
            of_shared_cluster: desired.of_shared_cluster,
        };
        let entity = pool_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        applied.entity = Some(entity.clone());
        updates.add(entity, pool::NAME, Precedence::Record, &record, Some(0))?;
        self.order_members(updates);
        Ok(applied)
    }

    async fn change_pool(
        &self,
        pool: &ResolvedPool,
        known: &KnownPool,
        updates: &mut DesiredUpdates,
        dry: bool,
    ) -> Result<Applied, FleetError> {
        let draft = self.pool_draft(pool, known, dry).await?;
        let mut applied = applied(pool, Change::Configured);
        applied.entity = Some(known.entity.clone());
        applied.awaits_approval = draft.awaits_approval;
        applied.plan = draft.plan;
        applied.fields = draft.fields;
        if draft.record == known.record && !self.lacks_order(known) {
            applied.change = Change::Unchanged;
        } else if !dry {
            record_pool(known, &draft.record, updates)?;
            self.order_members(updates);
        }
        Ok(applied)
    }

    async fn pool_draft(
        &self,
        pool: &ResolvedPool,
        known: &KnownPool,
        dry: bool,
    ) -> Result<PoolDraft, FleetError> {
        let (desired, before) = (&pool.desired, &known.record);
        let template = self.template(pool, Some(before), dry).await?;
        let plan = template::plan(&before.template, &template);
        let mut record = PoolRecord {
            labels: desired.labels.clone(),
            replicas: desired.replicas.unwrap_or(before.replicas),
            strategy: desired.strategy,
            update_policy: desired.update_policy,
            of_group: desired.of_group.clone(),
            of_shared_cluster: desired.of_shared_cluster,
            ..before.clone()
        };
        let is_new = template.revision != before.template.revision;
        let has_members = self.has_had_members(before.uid).await;
        let has_effect = plan.has_effect() || permits_more(&before.template, &template);
        let waits = desired.update_policy == UpdatePolicy::Manual && has_effect;
        let awaits_approval = is_new && has_members && waits;
        if awaits_approval {
            record.proposed = Some(template);
        } else {
            self.replace_template(known, &mut record, template).await?;
        }
        let mut plan = self.plan_of_members(before, &record, plan).await?;
        let mut fields = own_fields(before, &record);
        let within = plan.changes.iter().cloned();
        fields.extend(within.map(|change| PlannedChange {
            path: format!("template.spec.{}", change.path),
            ..change
        }));
        if self.lacks_order(known) {
            fields.push(ordered_again());
            let surplus = record.replicas.max(before.replicas)..u32::MAX;
            plan.destroys
                .extend(self.surplus_members(&record, &surplus).await?);
        }
        plan.changes.clone_from(&fields);
        Ok(PoolDraft {
            record,
            fields,
            plan,
            awaits_approval,
        })
    }

    /// Makes this the template that the pool's members are made from. A rollout that reached every member
    /// since the last reconciliation counts as complete.
    pub(in crate::fleet) async fn replace_template(
        &self,
        known: &KnownPool,
        record: &mut PoolRecord,
        template: TemplateRecord,
    ) -> Result<(), FleetError> {
        let is_new = template.revision != record.template.revision;
        if is_new && Box::pin(self.members(known)).await?.view.is_rolled_out() {
            record.complete_rollout();
        }
        record.replace_template(template);
        Ok(())
    }

    /// Records that a rollout has reached every member. Returns whether it was recorded now; the pool is
    /// then reconciled again.
    pub(in crate::fleet) async fn note_rollout(
        &self,
        pool: &KnownPool,
        view: &PoolView,
    ) -> Result<bool, FleetError> {
        let is_noted = pool.record.rolled_out().revision == pool.record.template.revision;
        if is_noted || !view.is_rolled_out() {
            return Ok(false);
        }
        let mut record = pool.record.clone();
        record.complete_rollout();
        let mut updates = DesiredUpdates::default();
        record_pool(pool, &record, &mut updates)?;
        let by = pool.controller("a complete rollout");
        self.record(updates, by).await?;
        Ok(true)
    }

    /// Refuses, before anything is made, invalid changes of pools, and documents of a pool's members.
    pub(in crate::fleet) async fn refuse_pools(
        &self,
        resolved: &Resolved,
        known: &[Known],
    ) -> Result<(), FleetError> {
        let is_member = |vsi: &DesiredVsi| vsi.member_of.is_some();
        let made = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let there = known.iter().map(|known| &known.record.vsi);
        // In a set of journals, their pools may be in another journal.
        let concerns_members = made.chain(there).any(is_member);
        if resolved.pools.is_empty() && !concerns_members && self.entities_of(kind::POOL).is_empty()
        {
            return Ok(());
        }
        let (mut pools, lost) = self.known_records::<PoolRecord>().await?;
        pools.retain(|pool| !pool.is_deleted());
        if let (false, Some((_, _, failure))) = (resolved.pools.is_empty(), lost.into_iter().next())
        {
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        for vsi in &resolved.vsis {
            refuse_member(&vsi.desired, known, &pools)?;
        }
        self.refuse_member_disks(resolved, &pools).await?;
        for pool in &resolved.pools {
            Box::pin(self.refuse_pool(pool, &pools, resolved)).await?;
        }
        Ok(())
    }

    async fn refuse_pool(
        &self,
        pool: &ResolvedPool,
        pools: &[KnownPool],
        resolved: &Resolved,
    ) -> Result<(), FleetError> {
        let (desired, known) = (&pool.desired, matching(pool, pools));
        let full_name = format!("{}/{}", desired.namespace, desired.name);
        let present = known.map_or(1, |known| known.record.replicas);
        let replicas = desired.replicas.unwrap_or(present);
        if let Some(known) = known {
            if known.is_deleting() {
                return Err(FleetError::going_of(kind::POOL, &full_name));
            }
            if desired.uid.is_some_and(|uid| uid != known.record.uid) {
                return Err(another(&full_name));
            }
            let template = self.template(pool, Some(&known.record), true).await?;
            refuse_change(&known.record.template, &template, &full_name)?;
        }
        let names = (0..replicas).map(|number| member_name(&desired.name, number));
        for name in names {
            let same = |vsi: &DesiredVsi| vsi.namespace == desired.namespace && vsi.name == name;
            if resolved.vsis.iter().any(|vsi| same(&vsi.desired)) {
                let failure = taken(&desired.name, &name);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
        }
        let own = known.map_or_else(Uuid::nil, |known| known.record.uid);
        self.refuse_foreign(own, &desired.namespace, &desired.name, 0..replicas)
            .await?;
        self.refuse_foreign_disks(own, desired, replicas, pools)
            .await
    }

    /// Refuses numbers whose names other VSIs have.
    pub(in crate::fleet) async fn refuse_foreign(
        &self,
        own: Uuid,
        namespace: &str,
        pool: &str,
        numbers: std::ops::Range<u32>,
    ) -> Result<(), FleetError> {
        let names = numbers.map(|number| member_name(pool, number));
        let found = self.known_of_names(namespace, names).await?;
        let foreign = found.into_iter().find(|known| {
            let of = known.record.vsi.member_of.as_ref();
            !known.is_deleted() && of.is_none_or(|of| of.uid != own)
        });
        match foreign {
            Some(known) => {
                let failure = taken(pool, &known.record.vsi.name);
                Err(FleetError::new(ErrorKind::Blocked, failure))
            }
            None => Ok(()),
        }
    }

    /// Refuses members' disks whose names are taken. `pools` are those that are not deleted.
    pub(in crate::fleet) async fn refuse_foreign_disks(
        &self,
        own: Uuid,
        desired: &crate::spec::DesiredPool,
        replicas: u32,
        pools: &[KnownPool],
    ) -> Result<(), FleetError> {
        let mut resolved = Resolved::default();
        for number in 0..replicas {
            resolved.data_disks.extend(desired.disks.iter().map(|disk| {
                let mut disk = disk.clone();
                disk.name = member_disk_name(&disk.name, &desired.name, number);
                disk.member_of = Some(MemberOf {
                    uid: own,
                    pool: desired.name.clone(),
                    number,
                    revision: String::new(),
                });
                disk
            }));
        }
        if resolved.data_disks.is_empty() {
            return Ok(());
        }
        self.refuse_member_disks(&resolved, pools).await
    }

    /// Refuses documents of data disks that belong to a pool's member, and members' disks whose names
    /// are taken. A disk that an earlier pool of this name left behind is attached again.
    async fn refuse_member_disks(
        &self,
        resolved: &Resolved,
        pools: &[KnownPool],
    ) -> Result<(), FleetError> {
        let known = self.concerned_disks(resolved).await?;
        let lives = |uid: Uuid| pools.iter().any(|pool| pool.record.uid == uid);
        for disk in &resolved.data_disks {
            let named = known.iter().find(|known| {
                let its = &known.record.disk;
                !known.is_deleted() && its.namespace == disk.namespace && its.name == disk.name
            });
            let Some(known_disk) = named else { continue };
            let allowed = match (&disk.member_of, &known_disk.record.disk.member_of) {
                (None, None) => true,
                (None, Some(of)) => !lives(of.uid),
                (Some(_), None) => false,
                (Some(now), Some(then)) => {
                    let same = (&now.pool, now.number) == (&then.pool, then.number);
                    now.uid == then.uid || same && !lives(then.uid)
                }
            };
            if !allowed {
                return Err(others_disk(disk));
            }
        }
        Ok(())
    }
}

/// Records a new state of a pool; secrets that it no longer refers to are then erased.
pub(in crate::fleet) fn record_pool(
    known: &KnownPool,
    record: &PoolRecord,
    updates: &mut DesiredUpdates,
) -> Result<(), FleetError> {
    let needed = record.secrets();
    let before = known.record.secrets();
    updates.retire(&known.entity, before.difference(&needed));
    let (entity, newest) = (known.entity.clone(), Some(known.generation()));
    updates.add(entity, pool::NAME, Precedence::Record, record, newest)
}

/// Whether a template permits to lose what the one before it protects: that changes no member, and a person who
/// approves changes has to see it all the same.
fn permits_more(before: &TemplateRecord, after: &TemplateRecord) -> bool {
    let is_retained = |name: &str| {
        let mut disks = before.disks.iter();
        disks.any(|disk| disk.name == name && disk.deletion_policy == DeletionPolicy::Retain)
    };
    let mut disks = after.disks.iter();
    let gives_up =
        disks.any(|disk| disk.deletion_policy == DeletionPolicy::Delete && is_retained(&disk.name));
    gives_up || after.evictable && !before.evictable
}

pub(in crate::fleet) fn matching<'a>(
    pool: &ResolvedPool,
    known: &'a [KnownPool],
) -> Option<&'a KnownPool> {
    known.iter().find(|known| {
        let same = &known.record;
        same.namespace == pool.desired.namespace && same.name == pool.desired.name
    })
}

fn applied(pool: &ResolvedPool, change: Change) -> Applied {
    let pool = &pool.desired;
    Applied::unplanned(kind::POOL, &pool.namespace, &pool.name, None, change)
}

/// Refuses the document of a VSI that is, or would be, a pool's member.
fn refuse_member(vsi: &DesiredVsi, known: &[Known], pools: &[KnownPool]) -> Result<(), FleetError> {
    let same = |candidate: &&Known| {
        let its = &candidate.record.vsi;
        !candidate.is_deleted() && its.namespace == vsi.namespace && its.name == vsi.name
    };
    let known = known.iter().find(same);
    let of = known.and_then(|known| known.record.vsi.member_of.as_ref());
    let failure = match (&vsi.member_of, of) {
        (Some(now), Some(then)) if now.uid == then.uid => return Ok(()),
        (Some(_), None) if known.is_none() => return Ok(()),
        (Some(now), _) => taken(&now.pool, &vsi.name),
        (None, Some(of)) => members(&of.pool, vsi),
        (None, None) if known.is_some() => return Ok(()),
        (None, None) => {
            let pool = pools.iter().find(|pool| {
                !pool.is_deleting() && pool.has_member_name(&vsi.namespace, &vsi.name)
            });
            match pool {
                Some(pool) => members(&pool.record.name, vsi),
                None => return Ok(()),
            }
        }
    };
    Err(FleetError::new(ErrorKind::Blocked, failure))
}

fn members(pool: &str, vsi: &DesiredVsi) -> Failure {
    let message = format!("it is a member of pool/{pool}, and no document's own");
    Failure::new(FailureClass::Blocked, "VSI0720", message)
        .of_object(format!("vsi/{}", vsi.full_name()))
        .with_remedy("change the pool's document, or give the VSI another name")
}

fn others_disk(disk: &DesiredDataDisk) -> FleetError {
    let name = format!("{}/{}", disk.namespace, disk.name);
    let message = match disk.member_of {
        Some(_) => "a data disk of this name exists, and this pool did not make it",
        None => "it is the data disk of a pool's member, and no document's own",
    };
    let failure = Failure::new(FailureClass::Blocked, "VSI0725", message)
        .of_object(format!("disk/{name}"))
        .with_remedy("give the disk, or the pool's disk template, another name");
    FleetError::new(ErrorKind::Blocked, failure)
}

fn another(full_name: &str) -> FleetError {
    let message = "a pool of this name exists under another UID";
    let failure = Failure::new(FailureClass::Blocked, "VSI0726", message)
        .of_object(format!("pool/{full_name}"))
        .with_remedy("remove metadata.uid from the document, or delete the pool that exists");
    FleetError::new(ErrorKind::Blocked, failure)
}

/// Refuses a template change that members could not follow.
pub(in crate::fleet) fn refuse_change(
    before: &TemplateRecord,
    after: &TemplateRecord,
    full_name: &str,
) -> Result<(), FleetError> {
    let plan = template::plan(before, after);
    let Some(change) = plan.refused().next() else {
        return Ok(());
    };
    let path = format!("template.spec.{}", change.path);
    let failure = update_vsi::refused(&record(after), &path, &change.why)
        .of_object(format!("pool/{full_name}"))
        .with_remedy("undo the change, or make a new pool with another name");
    Err(FleetError::new(ErrorKind::Blocked, failure))
}
