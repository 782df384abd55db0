//! Turns a pool's decision into a request to the journals.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{MemberDeletion, MemberReports, MembersRequest, ReportedDisk, ReportedMember};
use crate::{
    fleet::{Fleet, FleetError, known::KnownPool, pool::policies::NewestPolicies},
    pool::{self, MemberState, PoolAction, PoolDecision},
    spec::{DeletionPolicy, DesiredDataDisk, Resolved},
};

/// How many members one request makes or changes at most.
const MAX_MEMBERS: usize = 100;

/// The reported members, with their journals.
pub(super) type FoundMembers = BTreeMap<u32, (u16, ReportedMember)>;

impl MembersRequest {
    pub(super) fn is_empty(&self) -> bool {
        let apply = &self.apply;
        apply.vsis.is_empty() && apply.data_disks.is_empty() && self.delete.is_empty()
    }

    fn delete(&mut self, journal: u16, deletion: MemberDeletion) {
        self.delete.entry(journal).or_default().push(deletion);
    }
}

/// The data disks of members that are not made again.
pub(super) struct LeavingDisks {
    /// The disks to delete now, with their journals.
    pub(super) now: Vec<(u16, uuid::Uuid)>,
    /// The disks that a newest template retains and their own records do not. Their journals learn it: a later
    /// template would delete what was to stay when its member was given up.
    pub(super) retained: Vec<DesiredDataDisk>,
    /// Whether some still exist.
    pub(super) open: bool,
    /// What keeps some from being deleted.
    pub(super) obstacles: Vec<super::Obstacle>,
}

/// The data disks to delete with members that are not made again, as their journals and the newest
/// templates say.
pub(super) fn leaving_disks(
    pool: &KnownPool,
    policies: &NewestPolicies,
    reports: &MemberReports,
    found: &FoundMembers,
) -> LeavingDisks {
    let mut leaving = LeavingDisks {
        now: Vec::new(),
        retained: Vec::new(),
        open: false,
        obstacles: Vec::new(),
    };
    for (journal, report) in &reports.reports {
        let leaves = |disk: &&ReportedDisk| pool.is_too_many(disk.number);
        for disk in report.disks.iter().filter(leaves) {
            let own_pool = &pool.record.name;
            let is_permitted = policies.delete_disk(own_pool, disk.number, &disk.name);
            if !(disk.deleting || disk.goes && is_permitted) {
                leaving.retained.extend(learned(disk));
                continue;
            }
            leaving.open = true;
            let member = found.get(&disk.number);
            let is_free = member
                .is_none_or(|(_, member)| matches!(member.state, MemberState::Deleting { .. }));
            if disk.deleting || !is_free {
                leaving.obstacles.extend(disk.obstacle.clone());
            } else {
                leaving.now.push((*journal, disk.uid));
            }
        }
    }
    leaving
}

/// The disk as its journal is to have it, if its own record would delete what a newest template retains.
fn learned(disk: &ReportedDisk) -> Option<DesiredDataDisk> {
    let desired = disk.desired.clone().filter(|_| disk.goes)?;
    Some(DesiredDataDisk {
        deletion_policy: DeletionPolicy::Retain,
        ..desired
    })
}

impl Fleet {
    /// The request that carries out a decision.
    pub(super) async fn ask_of(
        &self,
        pool: &KnownPool,
        found: &FoundMembers,
        decision: &PoolDecision,
        disks: &LeavingDisks,
    ) -> Result<MembersRequest, FleetError> {
        let mut ask = MembersRequest {
            pool: pool.label(),
            of_shared_cluster: pool.record.of_shared_cluster,
            ..MembersRequest::default()
        };
        let orphan = pool.workflow() == pool::FORGET;
        let deletion = |is_disk, uid| MemberDeletion {
            is_disk,
            namespace: pool.record.namespace.clone(),
            uid,
            orphan,
        };
        let mut members = Vec::new();
        for action in &decision.actions {
            match action {
                PoolAction::Make(number) => members.push((*number, true)),
                PoolAction::Update(number) => members.push((*number, false)),
                PoolAction::Delete(number) | PoolAction::Evict(number) => {
                    if let Some((journal, member)) = found.get(number) {
                        ask.delete(*journal, deletion(false, member.uid));
                    }
                }
            }
        }
        for (journal, uid) in &disks.now {
            ask.delete(*journal, deletion(true, *uid));
        }
        if !members.is_empty() {
            let numbers: Vec<u32> = members.iter().map(|(number, _)| *number).collect();
            let at_once = self.members_at_once(pool, &numbers, MAX_MEMBERS).await?;
            members.truncate(at_once);
        }
        ask.apply = Box::pin(self.members_to_apply(pool, &members)).await?;
        ask.apply.data_disks.extend(disks.retained.clone());
        Ok(ask)
    }

    /// The documents of members; the flag says whether a member is new.
    async fn members_to_apply(
        &self,
        pool: &KnownPool,
        members: &[(u32, bool)],
    ) -> Result<Resolved, FleetError> {
        let mut resolved = Resolved::default();
        // Cached, because a rollout has two templates at most.
        let mut secrets = BTreeMap::new();
        for (number, is_new) in members {
            let template = match is_new {
                true => pool.record.template_of(*number),
                false => &pool.record.template,
            };
            let read = match secrets.entry(template.revision.as_str()) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(new) => new.insert(self.template_secrets(template).await?),
            };
            let (vsi, disks) = Self::member_anywhere(&pool.record, template, read, *number)?;
            resolved.vsis.push(vsi);
            resolved.data_disks.extend(disks);
        }
        Ok(resolved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(policy: &str) -> ReportedDisk {
        let desired = serde_json::json!({
            "namespace": "default", "name": "data-db-2", "host": "sim:a", "pool": "images",
            "size": 1 << 30, "deletionPolicy": policy,
        });
        serde_json::from_value(serde_json::json!({
            "number": 2, "name": "data-db-2", "uid": "01020304-0506-4708-890a-0b0c0d0e0f10",
            "goes": policy == "Delete", "deleting": false, "desired": desired,
        }))
        .unwrap()
    }

    #[test]
    fn a_journal_learns_what_the_newest_template_retains_and_its_record_does_not() {
        let learned_policy = |policy| learned(&reported(policy)).map(|disk| disk.deletion_policy);
        assert_eq!(learned_policy("Delete"), Some(DeletionPolicy::Retain));
        assert_eq!(learned_policy("Retain"), None);
        let by_earlier = ReportedDisk {
            desired: None,
            ..reported("Delete")
        };
        assert_eq!(learned(&by_earlier), None);
    }

    #[test]
    fn a_request_that_only_retains_disks_is_sent() {
        let mut ask = MembersRequest::default();
        assert!(ask.is_empty());
        ask.apply.data_disks.extend(reported("Delete").desired);
        assert!(!ask.is_empty());
    }
}
