//! Admission: whether work may begin now, and what decides again later if it may not.
//!
//! | obstacle | a run of an entity | a node's first attempt | an attempt after a wait |
//! |---|---|---|---|
//! | the global pause is on | waits | waits | is held back until the pause ends |
//! | room is [`Level::Low`] | waits | begins | begins |
//! | room is [`Level::Full`] | waits | waits | asks again soon |
//! | the lane does not answer | begins | begins; its failure is recorded | is held back until it answers |
//! | the lane has no free place | begins | waits | asks again soon |
//!
//! The first row that applies decides. Work that waits is decided again when a pause ends, room
//! changes or a place in the lane is freed. An attempt that begins occupies a place in its lane;
//! [`AdmissionGate::give_back`] frees it.
//!
//! Admission records nothing, and ends nothing that is in progress.

use std::collections::BTreeSet;

use super::{
    circuit_breaker::CircuitBreaker, disk::RoomWatch, global_pause::GlobalPause,
    limits::LaneLimits, timers::Waiter,
};
use crate::{
    model::{RunId, Text},
    room::Level,
};

/// Decides whether work may begin; see the module documentation.
pub(super) struct AdmissionGate {
    pub(super) pause: GlobalPause,
    pub(super) room: RoomWatch,
    pub(super) lanes: CircuitBreaker,
    pub(super) limits: LaneLimits,
}

/// The work that asks to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum WorkRequest<'a> {
    /// A run of an entity.
    Run,
    /// The first attempt of a node, which needs a place in its lane.
    FirstAttempt { run: RunId, lane: &'a Text },
    /// An attempt after a wait.
    NextAttempt {
        waiter: &'a Waiter,
        lane: &'a Text,
        /// The host that its recorded failure names; used as the lane if the node has none.
        failed_at: Option<&'a Text>,
    },
}

/// The decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The work begins.
    Granted,
    /// The work waits; it is decided again when the obstacle is removed.
    Waits,
    /// Nothing will trigger a new decision: the work asks again after a delay.
    AskAgain,
}

impl AdmissionGate {
    /// Decides whether the candidate may begin now.
    pub(super) fn admit(&mut self, candidate: WorkRequest<'_>) -> Admission {
        self.admit_at(self.room.level(), candidate)
    }

    fn admit_at(&mut self, room: Level, candidate: WorkRequest<'_>) -> Admission {
        match candidate {
            WorkRequest::Run if self.pause.is_on() || room != Level::Plenty => Admission::Waits,
            WorkRequest::Run => Admission::Granted,
            WorkRequest::FirstAttempt { run, lane } => self.first(room, run, lane),
            WorkRequest::NextAttempt {
                waiter,
                lane,
                failed_at,
            } => self.next(room, waiter, lane, failed_at),
        }
    }

    fn first(&mut self, room: Level, run: RunId, lane: &Text) -> Admission {
        if self.pause.is_on() || room == Level::Full || !self.limits.take(lane, run) {
            return Admission::Waits;
        }
        Admission::Granted
    }

    fn next(
        &mut self,
        room: Level,
        waiter: &Waiter,
        lane: &Text,
        failed_at: Option<&Text>,
    ) -> Admission {
        let reaches = if lane.is_empty() {
            failed_at
        } else {
            Some(lane)
        };
        if self.pause.hold_back(waiter)
            || reaches.is_some_and(|blocked_lane| self.lanes.hold_back(blocked_lane, waiter))
        {
            return Admission::Waits;
        }
        if room == Level::Full || !self.limits.take(lane, waiter.0) {
            return Admission::AskAgain;
        }
        Admission::Granted
    }

    /// Frees the place of an attempt that ended in the lane.
    pub(super) fn give_back(&mut self, lane: &Text) {
        self.limits.give_back(lane);
    }

    /// The runs to decide again because a lane has a free place; see [`LaneLimits::wake`].
    pub(super) fn wake(&mut self) -> BTreeSet<RunId> {
        self.limits.wake()
    }
}

#[cfg(test)]
mod tests;
