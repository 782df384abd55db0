//! Decides what to do for a pool. Pure: no input or output, no clock.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::spec::pool::Strategy;

/// The state of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MemberState {
    /// It is settled, its guest is ready, and its host has not been found silent since.
    Ready,
    /// Work for it is in progress.
    Busy,
    /// Its work failed, or waits for a person.
    Stuck,
    /// It is settled and off or suspended, by a command.
    Off,
    /// Its host does not answer, or its record cannot be read.
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

/// An existing member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its state.
    pub state: MemberState,
    /// Whether its guest may be serving, as far as is known.
    pub may_serve: bool,
    /// Whether it is made from the current revision of the template.
    pub current: bool,
}

/// A pool and the state of its members.
#[derive(Clone, Debug, Default)]
pub struct PoolView {
    /// How many members it should have.
    pub replicas: u32,
    /// How members are replaced.
    pub strategy: Strategy,
    /// Whether the pool is being deleted.
    pub deleting: bool,
    /// Existing members, by number.
    pub members: BTreeMap<u32, MemberView>,
    /// Numbers whose name another VSI has.
    pub foreign: BTreeSet<u32>,
    /// Numbers that are cordoned: neither updated nor made again.
    pub cordoned: BTreeSet<u32>,
    /// Members that are to leave their hosts, and may.
    pub evicting: BTreeSet<u32>,
    /// Numbers of evicted members whose data disks still exist: they are not made before these are
    /// deleted.
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
    /// Delete it on its host, so that it is made on another one.
    Evict(u32),
}

/// The result for a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoolOutcome {
    /// Every member exists, has the current template if due, and is ready.
    Available,
    /// Work is in progress, or a host does not answer.
    Progressing,
    /// This member is stuck; the rollout waits.
    Stuck(u32),
    /// This member is off, by a command.
    Off(u32),
    /// Another VSI has this member's name.
    Foreign(u32),
    /// The pool is deleted, and no member is left.
    Gone,
}

/// What to do for a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDecision {
    /// What to record, in this order.
    pub actions: Vec<PoolAction>,
    /// The state of the pool.
    pub outcome: PoolOutcome,
}

/// Decides what to do for a pool.
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
    /// How many members there should be now, including a surge.
    fn desired_members(&self) -> u32 {
        if self.deleting {
            return 0;
        }
        let due = self.due(self.replicas).count();
        let due = u32::try_from(due).unwrap_or(u32::MAX);
        let surge = match due {
            // The last replaced member may not be ready yet.
            0 if self.ready(self.replicas) < self.replicas => self.surging(),
            due => self.strategy.max_surge.min(due),
        };
        self.replicas.saturating_add(surge)
    }

    /// How many surge members exist.
    fn surging(&self) -> u32 {
        let end = self.replicas.saturating_add(self.strategy.max_surge);
        let last = self.members.range(self.replicas..end).next_back();
        last.map_or(0, |(number, _)| {
            number.saturating_add(1).saturating_sub(self.replicas)
        })
    }

    /// The members below `end` that are due for replacement by a rollout or an eviction, highest first.
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

    /// Whether a member is to be evicted now. Not while its host does not answer, because the deletion
    /// could not be confirmed there, and not while it is off.
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

    /// The superfluous members, highest first, a few at a time: a lower one is deleted only after those
    /// above.
    fn deletions(&self, desired: u32) -> Vec<PoolAction> {
        let together = usize::try_from(self.strategy.max_unavailable.max(1)).unwrap_or(usize::MAX);
        let highest = self.members.range(desired..).rev().take(together);
        let stays = highest.filter(|(_, member)| !member.state.leaves());
        stays
            .map(|(number, _)| PoolAction::Delete(*number))
            .collect()
    }

    /// The missing members, all at the same time.
    fn makes(&self, desired: u32) -> impl Iterator<Item = PoolAction> {
        let missing = (0..desired).filter(|number| {
            let taken = self.members.contains_key(number) || self.foreign.contains(number);
            let waits = self.cordoned.contains(number) || self.emptying.contains(number);
            !taken && !waits
        });
        missing.map(PoolAction::Make)
    }

    /// Whether a member of the current template is stuck, so that no other is replaced. A member that
    /// is to be evicted does not count, because it may be stuck on account of its host.
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
        // Negative while surge members are ready.
        let ready = i64::from(self.ready(desired));
        let mut away = i64::from(self.replicas).saturating_sub(ready);
        // Members that do not serve are replaced first, because that reduces no capacity.
        let (serving, idle): (Vec<_>, Vec<_>) = self
            .due(self.replicas)
            .partition(|(_, member)| member.may_serve);
        let mut updates: Vec<_> = idle.iter().map(|(number, _)| *number).collect();
        for (number, member) in serving {
            let after = match member.state {
                MemberState::Ready => away.saturating_add(1),
                // It already counts as unavailable, although it may serve.
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

    /// The highest stuck member.
    fn stuck(&self) -> Option<PoolOutcome> {
        let mut members = self.members.iter().rev();
        let stuck = members.find(|(_, member)| member.state.is_stuck());
        stuck.map(|(number, _)| PoolOutcome::Stuck(*number))
    }
}

#[cfg(test)]
mod tests;
