//! Turns a pool's decision into a request to the journals.

use std::collections::{BTreeMap, btree_map::Entry};

use super::{MemberDeletion, MemberReports, MembersRequest, ReportedDisk, ReportedMember};
use crate::{
    fleet::{Fleet, FleetError, known::KnownPool, pool::policies::NewestPolicies},
    pool::{self, MemberState, PoolAction, PoolDecision},
    spec::Resolved,
};

/// How many members one request makes or changes at most.
const MAX_MEMBERS: usize = 100;

/// The reported members, with their journals.
pub(super) type FoundMembers = BTreeMap<u32, (u16, ReportedMember)>;

impl MembersRequest {
    pub(super) fn is_empty(&self) -> bool {
        self.apply.vsis.is_empty() && self.delete.is_empty()
    }

    fn delete(&mut self, journal: u16, deletion: MemberDeletion) {
        self.delete.entry(journal).or_default().push(deletion);
    }
}

/// The data disks of members that are not made again.
pub(super) struct LeavingDisks {
    /// The disks to delete now, with their journals.
    pub(super) now: Vec<(u16, uuid::Uuid)>,
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
        open: false,
        obstacles: Vec::new(),
    };
    for (journal, report) in &reports.reports {
        let goes = |disk: &&ReportedDisk| {
            let own_pool = &pool.record.name;
            let permitted = disk.goes && policies.delete_disk(own_pool, disk.number, &disk.name);
            pool.is_too_many(disk.number) && (permitted || disk.deleting)
        };
        for disk in report.disks.iter().filter(goes) {
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
        members.truncate(MAX_MEMBERS);
        ask.apply = Box::pin(self.members_to_apply(pool, &members)).await?;
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
            let (vsi, disks) = Self::member_anywhere(&pool.record, template, read, *number);
            resolved.vsis.push(vsi);
            resolved.data_disks.extend(disks);
        }
        Ok(resolved)
    }
}
