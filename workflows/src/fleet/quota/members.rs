//! What the members of a pool may use at one time. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::count::{of_disk, of_vsi};
use crate::{
    group::ItemRecord,
    pool::{PoolRecord, TemplateRecord, member_disk_name},
    quota::Usage,
    spec::{DesiredDataDisk, DesiredVsi, ResolvedPool, UpdatePolicy, pool::Strategy},
};

/// The existing members of a pool, without their data disks.
#[derive(Clone, Debug, Default)]
pub(super) struct PresentMembers {
    pub(super) usage: Usage,
    /// The numbers of the members.
    pub(super) numbers: BTreeSet<u32>,
}

/// What a pool promises.
#[derive(Clone, Debug, Default)]
pub(super) struct PromisedUsage {
    /// The usage of its members, without their data disks.
    pub(super) members: Usage,
    /// The data disks of its members, by name, whether they exist or not.
    pub(super) disks: BTreeMap<String, Usage>,
}

impl PromisedUsage {
    /// The larger of each value.
    pub(super) fn max(mut self, other: Self) -> Self {
        self.members = self.members.max(other.members);
        raise_disks(&mut self.disks, other.disks);
        self
    }
}

/// The most that one member may use.
#[derive(Clone)]
struct MemberUsage {
    /// Without data disks.
    alone: Usage,
    /// Its data disks, by their names in the template. Those of an earlier template stay.
    disks: BTreeMap<String, Usage>,
}

impl MemberUsage {
    fn of(vsi: &DesiredVsi, disks: &[DesiredDataDisk]) -> Self {
        let disks = disks.iter().map(|disk| (disk.name.clone(), of_disk(disk)));
        Self {
            alone: of_vsi(vsi),
            disks: disks.collect(),
        }
    }

    fn of_template(template: &TemplateRecord) -> Self {
        Self::of(&template.vsi, &template.disks)
    }

    fn max(mut self, other: Self) -> Self {
        self.alone = self.alone.max(other.alone);
        raise_disks(&mut self.disks, other.disks);
        self
    }
}

/// Raises the usage of each disk to at least that of the same name.
fn raise_disks(disks: &mut BTreeMap<String, Usage>, others: BTreeMap<String, Usage>) {
    for (name, usage) in others {
        let its = disks.entry(name).or_default();
        *its = its.max(usage);
    }
}

/// What the members of a pool may use.
pub(super) struct MembersUsage {
    /// The name of the pool.
    pool: String,
    newest: MemberUsage,
    /// The same for members below the partition, which may have an earlier template.
    kept: MemberUsage,
    partition: u32,
    /// How many members there may be at one time, including surge members.
    count: u32,
}

impl MembersUsage {
    fn new(pool: &str, member: MemberUsage, strategy: Strategy, replicas: u32) -> Self {
        Self {
            pool: pool.to_owned(),
            newest: member.clone(),
            kept: member,
            partition: strategy.partition,
            count: strategy.most_members(replicas),
        }
    }

    /// A pool that is made from this template.
    pub(super) fn of_template(
        pool: &str,
        template: &TemplateRecord,
        strategy: Strategy,
        replicas: u32,
    ) -> Self {
        let member = MemberUsage::of_template(template);
        Self::new(pool, member, strategy, replicas)
    }

    /// A pool's record: each member may have the current template or the proposed one.
    pub(super) fn of_record(pool: &PoolRecord) -> Self {
        let usage = Self::of_template(&pool.name, &pool.template, pool.strategy, pool.replicas);
        usage.or_newest(pool.proposed.as_ref()).keeping(pool)
    }

    /// A pool's document.
    pub(super) fn of_document(pool: &ResolvedPool, known: Option<&PoolRecord>) -> Self {
        let desired = &pool.desired;
        let present = known.map_or(1, |known| known.replicas);
        let replicas = desired.replicas.unwrap_or(present);
        let member = MemberUsage::of(&pool.template.desired, &desired.disks);
        let usage = Self::new(&desired.name, member, desired.strategy, replicas);
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
        let usage = Self::of_template(&pool.name, &item.template, item.strategy, replicas);
        usage.keeping(pool)
    }

    fn or_newest(mut self, template: Option<&TemplateRecord>) -> Self {
        if let Some(other) = template.map(MemberUsage::of_template) {
            self.newest = self.newest.max(other.clone());
            self.kept = self.kept.max(other);
        }
        self
    }

    /// Members below the partition are made from the template that was rolled out last.
    fn keeping(mut self, pool: &PoolRecord) -> Self {
        let rolled_out = MemberUsage::of_template(pool.rolled_out());
        self.kept = self.kept.max(rolled_out);
        self
    }

    /// The most that a member of this number may use.
    fn of_number(&self, number: u32) -> &MemberUsage {
        if number < self.partition {
            &self.kept
        } else {
            &self.newest
        }
    }

    /// The most that all members may use at one time, of which some are there.
    pub(super) fn with(&self, present: &PresentMembers) -> PromisedUsage {
        let all = || (0..self.count).map(|number| (number, self.of_number(number)));
        let add = |sum: Usage, (_, member): (u32, &MemberUsage)| sum.plus(member.alone);
        let promised = all().fold(Usage::default(), add);
        // Members of larger templates may still be there while others are made.
        let missing = all().filter(|(number, _)| !present.numbers.contains(number));
        let with_missing = missing.fold(present.usage, add);
        let disks = all().flat_map(|(number, member)| {
            let disks = member.disks.iter();
            disks.map(move |(name, disk)| (member_disk_name(name, &self.pool, number), *disk))
        });
        PromisedUsage {
            members: promised.max(with_missing),
            disks: disks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn template(revision: &str, disk: &str) -> serde_json::Value {
        serde_json::json!({
            "revision": revision, "contract": "secret-1",
            "vsi": {
                "namespace": "default", "name": "db", "host": "sim:a", "pool": "images",
                "image": {"url": "http://images.test/a.qcow2", "fileName": "a.qcow2"},
                "bootDisk": {"mode": "copy", "size": GIB}, "networks": [],
                "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096}, "deletionPolicy": "Delete",
            },
            "disks": [{
                "namespace": "default", "name": disk, "host": "sim:a", "pool": "images", "size": 2 * GIB,
                "deletionPolicy": "Retain",
            }],
        })
    }

    fn pool(partition: u32) -> PoolRecord {
        serde_json::from_value(serde_json::json!({
            "uid": uuid::Uuid::nil(), "namespace": "default", "name": "db", "replicas": 3,
            "strategy": {"partition": partition},
            "template": template("r2", "store"), "rolled_out": template("r1", "data"),
        }))
        .unwrap()
    }

    fn promised(partition: u32) -> PromisedUsage {
        MembersUsage::of_record(&pool(partition)).with(&PresentMembers::default())
    }

    #[test]
    fn a_pool_promises_the_disks_of_its_members_by_name() {
        let all = promised(0);
        assert_eq!((all.members.vsis, all.members.disk), (3, 3 * GIB));
        let names: Vec<_> = all.disks.keys().map(String::as_str).collect();
        assert_eq!(names, ["store-db-0", "store-db-1", "store-db-2"]);
        assert!(all.disks.values().all(|usage| usage.disk == 2 * GIB));
    }

    #[test]
    fn members_below_the_partition_promise_the_disks_of_both_templates() {
        let names: Vec<_> = promised(1).disks.into_keys().collect();
        assert_eq!(
            names,
            ["data-db-0", "store-db-0", "store-db-1", "store-db-2"]
        );
    }
}
