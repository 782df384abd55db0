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
    /// Whether no order permits to replace and delete members.
    pub is_held: bool,
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
    /// Members are to be replaced or deleted, and no order permits it.
    Held,
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
        actions.extend(view.makes());
        actions.extend(view.updates(desired));
    }
    let mut outcome = view.outcome(desired, &actions);
    if view.is_held && actions.iter().any(PoolAction::needs_order) {
        actions.retain(|action| !action.needs_order());
        outcome = PoolOutcome::Held;
    }
    PoolDecision { actions, outcome }
}

impl PoolAction {
    /// Whether what a member's guest wrote may be gone after it.
    fn needs_order(&self) -> bool {
        match self {
            Self::Make(_) => false,
            Self::Update(_) | Self::Delete(_) | Self::Evict(_) => true,
        }
    }
}

impl PoolView {
    /// Whether a rollout is complete: every member that is not cordoned exists, has the current template, and is ready.
    /// A rollout leaves out cordoned members. Where it leaves out all, it has shown nothing.
    pub fn is_rolled_out(&self) -> bool {
        let is_done = |number: u32| {
            let member = self.members.get(&number);
            member.is_some_and(|member| member.current && member.state == MemberState::Ready)
        };
        let takes_part = |number: &u32| !self.cordoned.contains(number);
        let mut taking_part = (0..self.replicas).filter(takes_part).peekable();
        let is_left_out = self.replicas > 0 && taking_part.peek().is_none();
        !self.deleting && !is_left_out && taking_part.all(is_done)
    }

    /// How many members are ready, those of a surge included.
    pub fn ready_members(&self) -> u32 {
        self.ready(u32::MAX)
    }

    /// How many members are made from the current template, those of a surge included. Not those that are being
    /// deleted.
    pub fn updated_members(&self) -> u32 {
        let members = self.members.values();
        let updated = members.filter(|member| member.current && !member.state.leaves());
        u32::try_from(updated.count()).unwrap_or(u32::MAX)
    }

    /// How many members there should be now, including surge members that are still needed.
    fn desired_members(&self) -> u32 {
        if self.deleting {
            0
        } else {
            self.wanted_members().max(self.kept_members())
        }
    }

    /// How many members to make: a surge member for each one that is due for replacement.
    fn wanted_members(&self) -> u32 {
        let due = u32::try_from(self.due(self.replicas).count()).unwrap_or(u32::MAX);
        self.replicas
            .saturating_add(self.strategy.max_surge.min(due))
    }

    /// The end of the surge members that are needed although nothing is due: members that were
    /// replaced are not ready yet, and without these fewer than permitted would be.
    fn kept_members(&self) -> u32 {
        let surge_end = self.replicas.saturating_add(self.strategy.max_surge);
        let mut ready = self.ready(surge_end);
        let surge = self.members.range(self.replicas..surge_end).rev();
        for (number, member) in surge {
            if member.state == MemberState::Ready {
                if ready <= self.floor() {
                    return number.saturating_add(1);
                }
                ready = ready.saturating_sub(1);
            }
        }
        self.replicas
    }

    /// How many members have to be ready at any time.
    fn floor(&self) -> u32 {
        self.replicas.saturating_sub(self.strategy.max_unavailable)
    }

    /// How many ready members a deletion of superfluous ones has to leave: not those that will not
    /// become ready without a person, or the pool could never become smaller.
    fn attainable_floor(&self) -> u32 {
        let comes = |number: &u32| match self.members.get(number).map(|member| member.state) {
            Some(
                MemberState::Ready | MemberState::Busy | MemberState::Deleting { stuck: false },
            ) => true,
            Some(_) => false,
            None => !self.cordoned.contains(number) && !self.foreign.contains(number),
        };
        let coming = (0..self.replicas).filter(comes).count();
        self.floor().min(u32::try_from(coming).unwrap_or(u32::MAX))
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
    /// above, and a ready one only while enough others are ready.
    fn deletions(&self, desired: u32) -> Vec<PoolAction> {
        let together = usize::try_from(self.strategy.max_unavailable.max(1)).unwrap_or(usize::MAX);
        let mut ready = self.ready(u32::MAX);
        let floor = if self.deleting {
            0
        } else {
            self.attainable_floor()
        };
        let mut deletions = Vec::new();
        for (number, member) in self.members.range(desired..).rev().take(together) {
            if member.state == MemberState::Ready {
                if ready <= floor {
                    break;
                }
                ready = ready.saturating_sub(1);
            }
            if !member.state.leaves() {
                deletions.push(PoolAction::Delete(*number));
            }
        }
        deletions
    }

    /// The missing members, all at the same time.
    fn makes(&self) -> impl Iterator<Item = PoolAction> {
        let missing = (0..self.wanted_members()).filter(|number| {
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
        // Surge members that are ready may serve until they go, whatever they are made from. Others
        // would never become ready from a template that was taken back.
        let due = self.due(desired).filter(|(number, member)| {
            *number < self.replicas || member.state != MemberState::Ready
        });
        // Members that do not serve are replaced first, because that reduces no capacity.
        let (serving, idle): (Vec<_>, Vec<_>) = due.partition(|(_, member)| member.may_serve);
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
                self.stuck(desired).unwrap_or(PoolOutcome::Progressing)
            };
        }
        let foreign = self.foreign.range(..desired).next();
        if let Some(number) = foreign {
            return PoolOutcome::Foreign(*number);
        }
        if let Some(stuck) = self.stuck(desired).filter(|_| actions.is_empty()) {
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

    /// The highest stuck member. Not a superfluous one that only waits for its deletion.
    fn stuck(&self, desired: u32) -> Option<PoolOutcome> {
        let mut members = self.members.iter().rev();
        let stuck = members.find(|(number, member)| {
            let holds_up = **number < desired || member.state.leaves();
            holds_up && member.state.is_stuck()
        });
        stuck.map(|(number, _)| PoolOutcome::Stuck(*number))
    }
}

#[cfg(test)]
mod tests;
