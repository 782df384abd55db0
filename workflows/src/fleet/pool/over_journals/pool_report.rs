//! The last report on a pool's members. The process that reconciles the pool shows the pool from it.
//! Not persistent.

use std::collections::BTreeMap;

use super::{Obstacle, ReportedMember, ask::FoundMembers};
use crate::{
    fleet::{PoolMember, ShownMember, known::KnownPool, pool::object::CountedMembers},
    pool::{MemberState, PoolRecord, PoolView, member_name},
};

/// The last report on a pool.
#[derive(Clone)]
pub(in crate::fleet) struct PoolReport {
    view: PoolView,
    found: FoundMembers,
}

impl PoolReport {
    pub(super) fn of(view: PoolView, found: FoundMembers) -> Self {
        Self { view, found }
    }

    /// Existing members.
    pub(in crate::fleet) fn shown(&self) -> impl Iterator<Item = ShownMember> {
        let members = self.found.values();
        members.map(|(_, member)| member.shown.clone())
    }

    /// Whether both reports show the same to users.
    pub(in crate::fleet::pool) fn shows_the_same(&self, other: &Self) -> bool {
        let seen = |(_, member): &(u16, ReportedMember)| {
            (member.shown.clone(), member.phase, member.state)
        };
        let all = |one: &Self| one.found.values().map(seen).collect::<Vec<_>>();
        all(self) == all(other)
    }

    /// The members, as the pool's object shows them.
    pub(in crate::fleet::pool) fn counted(
        &self,
        pool: &KnownPool,
        blocked: Option<String>,
    ) -> CountedMembers {
        let record = &pool.record;
        let members = self.found.iter().map(|(number, (_, member))| PoolMember {
            name: member_name(&record.name, *number),
            number: *number,
            uid: member.uid.to_string(),
            phase: member.phase,
            ready: member.state == MemberState::Ready,
            updated: is_updated(member, record),
            cordoned: record.cordoned.contains(number),
            leaves: None,
        });
        CountedMembers {
            view: self.view_of(pool),
            members: members.collect(),
            obstacles: self.obstacles(),
            blocked,
        }
    }

    /// The reported view, with the pool's current record, which may be newer.
    fn view_of(&self, pool: &KnownPool) -> PoolView {
        let record = &pool.record;
        let mut view = PoolView {
            replicas: record.replicas,
            strategy: record.strategy,
            deleting: pool.is_deleting(),
            cordoned: record.cordoned.clone(),
            ..self.view.clone()
        };
        for (number, (_, member)) in &self.found {
            if let Some(seen) = view.members.get_mut(number) {
                seen.current = is_updated(member, record);
            }
        }
        view
    }

    fn obstacles(&self) -> BTreeMap<u32, String> {
        let all = self.found.iter().filter_map(|(number, (_, member))| {
            let why = match member.obstacle.as_ref()? {
                Obstacle::Failed(failure) | Obstacle::Blocked(failure) => failure.to_string(),
                Obstacle::Cancelled => "a user cancelled it".to_owned(),
                Obstacle::Unwell(detail) => detail.clone(),
            };
            Some((*number, why))
        });
        all.collect()
    }
}

/// Whether a member is made from its pool's current template.
fn is_updated(member: &ReportedMember, record: &PoolRecord) -> bool {
    member.shown.of.revision == record.template.revision
}
