//! Deletes what a pool has no more, and takes that back if it has it again.
//!
//! A deletion may wait for long: everything may be paused, or a host be silent. The newest wish counts until something is
//! taken away: a member that the pool has again stays, with its data disks, and so does a disk that the newest template
//! retains. What somebody else ordered, by a command or an eviction, is not taken back here.

use vsiflow_engine::model::{EntityId, EntityState, Failure};

use crate::fleet::{
    DeletionMode, Fleet, FleetError, Verdict, apply::is_deleting, known::KnownPool,
    pool::members::PoolMembers,
};
use crate::{
    delete_vsi, orders,
    pool::{self, MemberState},
    spec::{DeletionPolicy, DesiredDataDisk, Resolved},
};

/// How a pool deletes what it has no more.
fn deletion_mode(pool: &KnownPool) -> DeletionMode {
    if pool.workflow() == pool::FORGET {
        DeletionMode::Orphan
    } else if pool.is_deleting() {
        DeletionMode::ByPolicy
    } else {
        DeletionMode::Surplus
    }
}

impl Fleet {
    /// Takes back the deletions of members that the pool has again, and of their data disks, as far as nothing of them is
    /// taken away yet. Returns whether there were any; the pool is then reconciled again.
    pub(super) async fn take_back_surplus(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
    ) -> Result<bool, FleetError> {
        if pool.is_deleting() {
            return Ok(false);
        }
        let is_wanted = |number: u32| number < pool.record.replicas;
        let held = found.view.is_held;
        let mut changed = false;
        // The disks first: what waits for the end of their member would begin once that is taken back.
        for disk in found.disks.iter().filter(|disk| disk.is_being_destroyed()) {
            let of = disk.record.disk.member_of.as_ref();
            let is_wanted = of.is_some_and(|of| is_wanted(of.number));
            if is_wanted && is_given_up(&disk.entity, &disk.state, held) {
                let by = pool.controller("more members");
                changed |= self.take_back_disk_deletion(disk, &by).await?;
            }
        }
        for (number, member) in &found.members {
            let workflow = member.state.desired.as_ref();
            let is_deleted = workflow.is_some_and(|of| of.workflow.as_str() == delete_vsi::NAME);
            if !is_wanted(*number) || !is_deleted || member.is_deleted() {
                continue;
            }
            if is_given_up(&member.entity, &member.state, held) {
                let by = pool.controller("more members");
                changed |= self.take_back_deletion(member, &by).await?;
            }
        }
        Ok(changed)
    }

    pub(super) async fn delete_member(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        number: u32,
    ) -> Result<(), FleetError> {
        let Some(member) = found.members.get(&number) else {
            return Ok(());
        };
        let what = if pool.is_deleting() {
            "the deletion"
        } else {
            "fewer members"
        };
        let by = pool.controller(what);
        let namespace = &pool.record.namespace;
        // By UID, because another VSI may have taken the name in between.
        let uid = member.entity.id();
        let mode = deletion_mode(pool);
        Box::pin(self.vsis().delete(namespace, uid, mode, by))
            .await
            .map(drop)
    }

    /// Deletes the data disks of members that are not made again, if their policy and the newest templates
    /// say so. Those that are retained remain so: their records learn it. Returns whether some still exist.
    pub(super) async fn delete_disks(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
        trouble: &mut Vec<Failure>,
    ) -> Result<bool, FleetError> {
        if let Err(error) = self.record_retained_disks(pool, found).await {
            trouble.push(*error.failure);
            return Ok(true);
        }
        let mut open = false;
        for disk in &found.disks {
            let number = disk.record.disk.member_of.as_ref().map(|of| of.number);
            let Some(number) = number.filter(|number| pool.is_too_many(*number)) else {
                continue;
            };
            let policy = found.policies.of_disk(&disk.record.disk);
            let goes = disk.is_deleting() || policy == DeletionPolicy::Delete;
            let member = found.view.members.get(&number);
            if !goes || disk.is_deleted() {
                continue;
            }
            open = true;
            let leaves =
                member.is_none_or(|member| matches!(member.state, MemberState::Deleting { .. }));
            if disk.is_deleting() || !leaves {
                let verdict = self.own_verdict(&disk.entity);
                if let Some(Verdict::Blocked(failure) | Verdict::Failed(failure)) = verdict {
                    trouble.push(failure);
                }
                continue;
            }
            if found.view.is_held {
                trouble.push(pool.not_ordered());
                break;
            }
            let by = pool.controller("a member that is gone");
            let (namespace, uid) = (&pool.record.namespace, disk.entity.id());
            let mode = deletion_mode(pool);
            let deleted = self.disks().delete(namespace, uid, mode, by).await;
            trouble.extend(deleted.err().map(|error| *error.failure));
        }
        Ok(open)
    }

    /// Forgets the data disks that are to be deleted, that a newest template retains since, and of which nothing is taken
    /// away yet: everything may be paused, or their host silent, since their deletion was ordered.
    async fn keep_retained_disks(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
    ) -> Result<(), FleetError> {
        let retained = found.disks.iter().filter(|disk| {
            let of = disk.record.disk.member_of.as_ref();
            let member = of.and_then(|of| found.members.get(&of.number));
            let leaves = member.is_none_or(|member| is_deleting(&member.state));
            leaves && disk.is_being_destroyed() && found.policies.retain_disk(&disk.record.disk)
        });
        for disk in retained {
            let by = pool.controller("the newest template retains it");
            self.forget_instead(disk, by).await?;
        }
        Ok(())
    }

    /// Records `Retain` of the data disks that a newest template retains and their own records do not: a later
    /// template would delete what was to stay when its member was given up.
    async fn record_retained_disks(
        &self,
        pool: &KnownPool,
        found: &PoolMembers,
    ) -> Result<(), FleetError> {
        self.keep_retained_disks(pool, found).await?;
        let disks = found.disks.iter().filter(|disk| {
            let of = disk.record.disk.member_of.as_ref();
            let leaves = of.is_some_and(|of| pool.is_too_many(of.number));
            let learns = disk.record.disk.deletion_policy == DeletionPolicy::Delete
                && found.policies.of_disk(&disk.record.disk) == DeletionPolicy::Retain;
            leaves && learns && !disk.is_deleted() && !disk.is_deleting()
        });
        let disks = disks.map(|disk| DesiredDataDisk {
            uid: Some(disk.uid),
            deletion_policy: DeletionPolicy::Retain,
            ..disk.record.disk.clone()
        });
        let data_disks: Vec<_> = disks.collect();
        if data_disks.is_empty() {
            return Ok(());
        }
        let resolved = Resolved {
            data_disks,
            ..Resolved::default()
        };
        let by = pool.controller("the newest template retains it");
        Box::pin(self.apply(resolved, by)).await.map(drop)
    }
}

/// Whether only the pool ordered this deletion, or nobody does any more: it was cancelled. After a restored backup, nothing
/// says why an order is void.
fn is_given_up(entity: &EntityId, state: &EntityState, is_held: bool) -> bool {
    orders::is_surplus(entity, state) || !is_held && !orders::deletion_is_ordered(entity, state)
}

impl KnownPool {
    /// Whether no member should have this number.
    pub(super) fn is_too_many(&self, number: u32) -> bool {
        let strategy = &self.record.strategy;
        let end = self.record.replicas.saturating_add(strategy.max_surge);
        self.is_deleting() || number >= end
    }
}
