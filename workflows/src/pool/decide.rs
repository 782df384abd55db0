//! What a pool calls for. Pure: no input or output, no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::spec::pool::Strategy;

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// It is settled, its guest is ready, and its host was not found silent since.
    Ready,
    /// Work for it is in progress.
    Busy,
    /// Its work failed, or waits for a person.
    Stuck,
    /// It is settled and off or suspended, as somebody asked.
    Off,
    /// Nobody can tell: its host does not answer, or what is recorded cannot be read.
    Unknown,
    /// It is being deleted.
    Deleting {
        /// Whether that failed, or waits for a person.
        stuck: bool,
    },
}

impl MemberState {
    fn leaves(self) -> bool {
        matches!(self, Self::Deleting { .. })
    }

    fn is_stuck(self) -> bool {
        matches!(self, Self::Stuck | Self::Deleting { stuck: true })
    }
}

/// A member that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// How it is.
    pub state: MemberState,
    /// Whether its guest may be serving, for all that is known.
    pub may_serve: bool,
    /// Whether it is made from the current revision of the template.
    pub current: bool,
}

/// A pool and what is known of its members.
#[derive(Clone, Debug, Default)]
pub struct PoolView {
    /// How many members it is to have.
    pub replicas: u32,
    /// How they are replaced.
    pub strategy: Strategy,
    /// Whether the pool is being deleted.
    pub deleting: bool,
    /// The members that are there, by number.
    pub members: BTreeMap<u32, MemberView>,
    /// Numbers whose name another VSI has.
    pub foreign: BTreeSet<u32>,
    /// Numbers that are left out: neither updated nor made again.
    pub cordoned: BTreeSet<u32>,
    /// Members that are to leave their hosts, and may.
    pub evicting: BTreeSet<u32>,
    /// Numbers of members that left, and whose data disks are not gone yet: they are not made before.
    pub emptying: BTreeSet<u32>,
}

/// Something to record for a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolAction {
    /// Make it. Below the partition, from the earlier template.
    Make(u32),
    /// Bring it to the current template.
    Update(u32),
    /// Delete it.
    Delete(u32),
    /// Delete it where it is, so that it is made on another host.
    Evict(u32),
}

/// Where a pool is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOutcome {
    /// Every member is there, of the current template where that is due, and ready.
    Available,
    /// Work is in progress, or a host does not answer.
    Progressing,
    /// This member is stuck; the rollout waits.
    Stuck(u32),
    /// This member is off, as somebody asked.
    Off(u32),
    /// This member's name is another VSI's.
    Foreign(u32),
    /// The pool is deleted, and no member is left.
    Gone,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDecision {
    /// What to record, in this order.
    pub actions: Vec<PoolAction>,
    /// Where the pool is.
    pub outcome: PoolOutcome,
}

/// Says what a pool calls for.
pub fn decide(view: &PoolView) -> PoolDecision {
    let desired = view.desired_members();
    let mut actions = view.deletions(desired);
    if !view.deleting {
        actions.extend(view.makes(desired));
        actions.extend(view.updates(desired));
    }
    let outcome = view.outcome(desired, &actions);
    PoolDecision { actions, outcome }
}

impl PoolView {
    /// How many members there are to be now, those of a surge included.
    fn desired_members(&self) -> u32 {
        if self.deleting {
            return 0;
        }
        let due = self.due(self.replicas).count();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        let surge = match due {
            // The last that was replaced may not be ready yet.
            0 if self.ready(self.replicas) < self.replicas => self.surging(),
            due => self.strategy.max_surge.min(due),
        };
        self.replicas.saturating_add(surge)
    }

    /// How many members of a surge are there.
    fn surging(&self) -> u32 {
        let end = self.replicas.saturating_add(self.strategy.max_surge);
        let last = self.members.range(self.replicas..end).next_back();
        last.map_or(0, |(number, _)| {
            number.saturating_add(1).saturating_sub(self.replicas)
        })
    }

    /// The members below `end` that are to be replaced, by a rollout or elsewhere, highest first.
    fn due(&self, end: u32) -> impl Iterator<Item = (u32, MemberView)> {
        let members = self.members.range(..end).rev();
        members
            .filter(|(number, member)| {
                let stays = !member.state.leaves() && !self.cordoned.contains(number);
                let outdated = !member.current && **number >= self.strategy.partition;
                stays && (outdated || self.evicts(**number, **member))
            })
            .map(|(number, member)| (*number, *member))
    }

    /// Whether a member is to leave its host, and is not off. While its host does not answer it cannot be
    /// gone there, so it is not deleted.
    fn evicts(&self, number: u32, member: MemberView) -> bool {
        use MemberState::{Busy, Ready, Stuck};
        let leaves = matches!(member.state, Ready | Busy | Stuck);
        leaves && self.evicting.contains(&number) && !self.cordoned.contains(&number)
    }

    fn ready(&self, end: u32) -> u32 {
        let members = self.members.range(..end);
        let ready = members.filter(|(_, member)| member.state == MemberState::Ready);
        u32::try_from(ready.count()).unwrap_or(u32::MAX)
    }

    /// The members that are too many, highest first, a few at a time: a lower one goes only when
    /// those above are gone.
    fn deletions(&self, desired: u32) -> Vec<PoolAction> {
        let together = usize::try_from(self.strategy.max_unavailable.max(1)).unwrap_or(usize::MAX);
        let highest = self.members.range(desired..).rev().take(together);
        let stays = highest.filter(|(_, member)| !member.state.leaves());
        stays
            .map(|(number, _)| PoolAction::Delete(*number))
            .collect()
    }

    /// The members that are missing, all at once.
    fn makes(&self, desired: u32) -> impl Iterator<Item = PoolAction> {
        let missing = (0..desired).filter(|number| {
            let taken = self.members.contains_key(number) || self.foreign.contains(number);
            let waits = self.cordoned.contains(number) || self.emptying.contains(number);
            !taken && !waits
        });
        missing.map(PoolAction::Make)
    }

    /// A member of the current template that is stuck: nothing else is replaced meanwhile. One that is to leave
    /// its host may be stuck because of it.
    fn halted(&self, desired: u32) -> bool {
        let mut members = self.members.range(..desired);
        members.any(|(number, member)| {
            let stuck = member.current && member.state == MemberState::Stuck;
            stuck && !self.evicts(*number, *member)
        })
    }

    fn updates(&self, desired: u32) -> Vec<PoolAction> {
        if self.halted(desired) {
            return Vec::new();
        }
        let most = i64::from(self.strategy.max_unavailable);
        // Below 0 while a surge is ready.
        let ready = i64::from(self.ready(desired));
        let mut away = i64::from(self.replicas).saturating_sub(ready);
        // What serves nobody goes first: that takes nothing away.
        let (serving, idle): (Vec<_>, Vec<_>) = self
            .due(self.replicas)
            .partition(|(_, member)| member.may_serve);
        let mut updates: Vec<_> = idle.iter().map(|(number, _)| *number).collect();
        for (number, member) in serving {
            let after = match member.state {
                MemberState::Ready => away.saturating_add(1),
                // It is counted as away already, although it may serve.
                _ => away,
            };
            if after <= most {
                away = after;
                updates.push(number);
            }
        }
        let evicts = |number: &u32| {
            let member = self.members.get(number);
            member.is_some_and(|member| self.evicts(*number, *member))
        };
        let action = |number| {
            if evicts(&number) {
                PoolAction::Evict(number)
            } else {
                PoolAction::Update(number)
            }
        };
        updates.into_iter().map(action).collect()
    }

    fn outcome(&self, desired: u32, actions: &[PoolAction]) -> PoolOutcome {
        if self.deleting {
            return if self.members.is_empty() {
                PoolOutcome::Gone
            } else {
                self.stuck().unwrap_or(PoolOutcome::Progressing)
            };
        }
        let foreign = self.foreign.range(..desired).next();
        if let Some(number) = foreign {
            return PoolOutcome::Foreign(*number);
        }
        if let Some(stuck) = self.stuck().filter(|_| actions.is_empty()) {
            return stuck;
        }
        if !actions.is_empty() || self.members.range(desired..).next().is_some() {
            return PoolOutcome::Progressing;
        }
        let is = |number: u32, state| self.members.get(&number).map(|m| m.state) == Some(state);
        let absent = |number: &u32| {
            let counts = self.members.contains_key(number) || !self.cordoned.contains(number);
            counts && !is(*number, MemberState::Ready)
        };
        let not_ready: Vec<_> = (0..self.replicas).filter(absent).collect();
        let off = not_ready
            .iter()
            .find(|number| is(**number, MemberState::Off));
        match (not_ready.as_slice(), off) {
            ([], _) if self.due(self.replicas).next().is_none() => PoolOutcome::Available,
            (all, Some(off)) if all.iter().all(|number| is(*number, MemberState::Off)) => {
                PoolOutcome::Off(*off)
            }
            _ => PoolOutcome::Progressing,
        }
    }

    /// The highest member that is stuck.
    fn stuck(&self) -> Option<PoolOutcome> {
        let mut members = self.members.iter().rev();
        let stuck = members.find(|(_, member)| member.state.is_stuck());
        stuck.map(|(number, _)| PoolOutcome::Stuck(*number))
    }
}

#[cfg(test)]
mod tests;
