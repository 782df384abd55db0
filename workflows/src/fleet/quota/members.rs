//! What the members of a pool may use at one time. Pure.

use std::collections::BTreeSet;

use super::count::{of_disk, of_vsi};
use crate::{
    group::ItemRecord,
    pool::{PoolRecord, TemplateRecord},
    quota::Usage,
    spec::{DesiredDataDisk, DesiredVsi, ResolvedPool, UpdatePolicy, pool::Strategy},
};

/// The existing members of a pool, and their data disks.
#[derive(Clone, Debug, Default)]
pub(super) struct PresentMembers {
    pub(super) usage: Usage,
    /// The numbers of the members.
    pub(super) numbers: BTreeSet<u32>,
}

/// The most that one member may use.
#[derive(Clone, Copy)]
struct MemberUsage {
    /// Without data disks: those of a missing member may be there.
    alone: Usage,
    with_disks: Usage,
}

impl MemberUsage {
    fn of(vsi: &DesiredVsi, disks: &[DesiredDataDisk]) -> Self {
        Self {
            alone: of_vsi(vsi),
            with_disks: disks.iter().map(of_disk).fold(of_vsi(vsi), Usage::plus),
        }
    }

    fn of_template(template: &TemplateRecord) -> Self {
        Self::of(&template.vsi, &template.disks)
    }

    fn max(self, other: Self) -> Self {
        Self {
            alone: self.alone.max(other.alone),
            with_disks: self.with_disks.max(other.with_disks),
        }
    }
}

/// What the members of a pool may use.
pub(super) struct MembersUsage {
    newest: MemberUsage,
    /// The same for members below the partition, which may have an earlier template.
    kept: MemberUsage,
    partition: u32,
    /// How many members there may be at one time, including surge members.
    count: u32,
}

impl MembersUsage {
    fn new(member: MemberUsage, strategy: Strategy, replicas: u32) -> Self {
        Self {
            newest: member,
            kept: member,
            partition: strategy.partition,
            count: strategy.most_members(replicas),
        }
    }

    /// A pool that is made from this template.
    pub(super) fn of_template(
        template: &TemplateRecord,
        strategy: Strategy,
        replicas: u32,
    ) -> Self {
        Self::new(MemberUsage::of_template(template), strategy, replicas)
    }

    /// A pool's record: each member may have the current template or the proposed one.
    pub(super) fn of_record(pool: &PoolRecord) -> Self {
        let usage = Self::of_template(&pool.template, pool.strategy, pool.replicas);
        usage.or_newest(pool.proposed.as_ref()).keeping(pool)
    }

    /// A pool's document.
    pub(super) fn of_document(pool: &ResolvedPool, known: Option<&PoolRecord>) -> Self {
        let desired = &pool.desired;
        let present = known.map_or(1, |known| known.replicas);
        let replicas = desired.replicas.unwrap_or(present);
        let member = MemberUsage::of(&pool.template.desired, &desired.disks);
        let usage = Self::new(member, desired.strategy, replicas);
        let Some(known) = known else {
            return usage;
        };
        let waits = desired.update_policy == UpdatePolicy::Manual;
        let stays = Some(&known.template).filter(|_| waits);
        usage.or_newest(stays).keeping(known)
    }

    /// What an item of a group makes of its pool.
    pub(super) fn of_item(item: &ItemRecord, pool: &PoolRecord) -> Self {
        let replicas = item.replicas.unwrap_or(pool.replicas);
        Self::of_template(&item.template, item.strategy, replicas).keeping(pool)
    }

    fn or_newest(mut self, template: Option<&TemplateRecord>) -> Self {
        if let Some(other) = template.map(MemberUsage::of_template) {
            (self.newest, self.kept) = (self.newest.max(other), self.kept.max(other));
        }
        self
    }

    /// Members below the partition are made from the template that was rolled out last.
    fn keeping(mut self, pool: &PoolRecord) -> Self {
        let rolled_out = MemberUsage::of_template(pool.rolled_out());
        self.kept = self.kept.max(rolled_out);
        self
    }

    /// The most that all members may use at one time, of which some are there.
    pub(super) fn with(&self, present: &PresentMembers) -> Usage {
        let kept = self.partition.min(self.count);
        let promised = self.kept.with_disks.times(kept.into());
        let others = self.count.saturating_sub(kept);
        let promised = promised.plus(self.newest.with_disks.times(others.into()));
        // Members of larger templates may still be there while others are made.
        let missing = (0..self.count).filter(|number| !present.numbers.contains(number));
        let with_missing = missing.fold(present.usage, |sum, number| {
            let member = if number < kept {
                self.kept
            } else {
                self.newest
            };
            sum.plus(member.alone)
        });
        promised.max(with_missing)
    }
}
