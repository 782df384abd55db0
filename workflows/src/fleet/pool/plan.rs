//! What the document of a pool changes, and what it does to the members that exist.

use std::{ops::Range, sync::Arc};

use serde_json::Value;
use uuid::Uuid;

use crate::fleet::{
    Fleet, FleetError, apply::is_deleting, disk::known::KnownDisk, index::Known,
    pool::policies::NewestPolicies,
};
use crate::{
    plan::{Destroyed, Doomed, How, Plan, PlannedChange, boot_disk, destroys, keeps},
    pool::PoolRecord,
    spec::DeletionPolicy,
};

/// Why members go that a document does not have any more.
const FEWER: &str = "the pool has fewer members then";

/// Why a change of a template changes nothing that exists.
pub(in crate::fleet) const NOBODY: &str = "there is no member that follows it";

impl Fleet {
    /// What a change of a pool does to the members that exist, except to those that it has only for a rollout.
    pub(in crate::fleet) async fn plan_of_members(
        &self,
        before: &PoolRecord,
        record: &PoolRecord,
        template_plan: Plan,
    ) -> Result<Plan, FleetError> {
        let members = self.living_members(record.uid).await?;
        let following = numbered(&members, &(record.strategy.partition..record.replicas));
        let mut plan = if following.is_empty() {
            template_plan.only_recorded(NOBODY)
        } else {
            Plan {
                changes: template_plan.changes,
                ..Plan::default()
            }
        };
        if plan.how() == Some(How::Rebuild) {
            // What waits for approval is what the plan is about.
            let newest = record.proposed.as_ref().unwrap_or(&record.template);
            let is_outdated = |member: &&Known| {
                let of = member.record.vsi.member_of.as_ref();
                of.is_none_or(|of| of.revision != newest.revision)
            };
            for member in following.into_iter().filter(is_outdated) {
                let objects = &member.state.objects;
                plan.destroys
                    .extend(destroys(&member.record, objects, &plan.changes));
                plan.keeps.extend(keeps(&member.record));
            }
        }
        let surplus = record.replicas..before.replicas;
        plan.destroys
            .extend(self.surplus_of(record, &members, &surplus).await?);
        Ok(plan)
    }

    /// What is deleted with the members of these numbers, which their pool does not have any more.
    pub(in crate::fleet) async fn surplus_members(
        &self,
        pool: &PoolRecord,
        numbers: &Range<u32>,
    ) -> Result<Vec<Destroyed>, FleetError> {
        let members = self.living_members(pool.uid).await?;
        self.surplus_of(pool, &members, numbers).await
    }

    /// The members of these numbers with their boot disks, and those of their data disks that the records of both
    /// permit to delete.
    async fn surplus_of(
        &self,
        pool: &PoolRecord,
        members: &[Arc<Known>],
        numbers: &Range<u32>,
    ) -> Result<Vec<Destroyed>, FleetError> {
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let surplus = numbered(members, numbers).into_iter();
        let deleted = surplus.filter(|member| !member.is_retained());
        let servers = deleted.map(|member| {
            let boot_disk = boot_disk(&member.record, &member.state.objects);
            Destroyed {
                object: format!("VSI {} with {boot_disk}", member.label()),
                why: FEWER.to_owned(),
                doomed: Some(Doomed::Deleted(member.entity.clone())),
            }
        });
        let policies = NewestPolicies::of_pool(pool);
        let goes = |disk: &KnownDisk| {
            let of = disk.record.disk.member_of.as_ref();
            let is_surplus = of.is_some_and(|of| numbers.contains(&of.number));
            let is_deleted = policies.of_disk(&disk.record.disk) == DeletionPolicy::Delete;
            is_surplus && is_deleted && !disk.is_deleted() && !disk.is_deleting()
        };
        let disks = self.disks_of_pool(pool.uid).await?.into_iter();
        let disks = disks.filter(goes).map(|disk| Destroyed {
            object: format!("data disk {}", disk.record.disk.name),
            why: format!("{FEWER}, and its deletionPolicy is Delete"),
            doomed: Some(Doomed::Deleted(disk.entity)),
        });
        Ok(servers.chain(disks).collect())
    }

    async fn living_members(&self, pool: Uuid) -> Result<Vec<Arc<Known>>, FleetError> {
        let mut members = self.known_of_pool(pool).await?;
        members.retain(|known| !is_deleting(&known.state));
        Ok(members)
    }
}

/// The members with these numbers.
fn numbered<'m>(members: &'m [Arc<Known>], numbers: &Range<u32>) -> Vec<&'m Known> {
    let members = members.iter().map(AsRef::as_ref);
    let has_number = |known: &&Known| {
        let of = known.record.vsi.member_of.as_ref();
        of.is_some_and(|of| numbers.contains(&of.number))
    };
    members.filter(has_number).collect()
}

/// The change of a document that only orders again what it ordered before the journal was restored.
pub(in crate::fleet) fn ordered_again() -> PlannedChange {
    PlannedChange {
        path: "members".to_owned(),
        before: None,
        after: None,
        how: How::Recorded,
        why: "it is ordered again to replace those of an earlier template, and to delete those that are too many"
            .to_owned(),
    }
}

/// The fields of the pool itself that differ.
pub(super) fn own_fields(before: &PoolRecord, after: &PoolRecord) -> Vec<PlannedChange> {
    let value = |pool: &PoolRecord| {
        serde_json::json!({
            "labels": pool.labels, "replicas": pool.replicas, "strategy": pool.strategy,
            "updatePolicy": pool.update_policy, "template.evictable": pool.template.evictable,
        })
    };
    let keys = [
        "labels",
        "replicas",
        "strategy",
        "updatePolicy",
        "template.evictable",
    ];
    recorded_changes(&value(before), &value(after), &keys, why_recorded)
}

/// The fields that differ, which are only recorded, in the order of the keys.
pub(in crate::fleet) fn recorded_changes(
    before: &Value,
    after: &Value,
    keys: &[&str],
    why: impl Fn(&str) -> &'static str,
) -> Vec<PlannedChange> {
    let fields = keys
        .iter()
        .filter_map(|key| Some((*key, before.get(key)?, after.get(key)?)));
    let changed = fields.filter(|(_, old, new)| old != new);
    let changes = changed.map(|(key, old, new)| PlannedChange {
        path: key.to_owned(),
        before: Some(old.clone()),
        after: Some(new.clone()),
        how: How::Recorded,
        why: why(key).to_owned(),
    });
    changes.collect()
}

/// Why a change of a field of a pool changes no member that stays.
pub(in crate::fleet) fn why_recorded(field: &str) -> &'static str {
    match field {
        "replicas" => "members are made, or deleted from the highest number down",
        _ => "it says how vsiflow treats the pool, not what its members are",
    }
}
