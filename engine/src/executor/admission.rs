//! The one gate: whether something may begin just now, and who sees to it later where it may not.
//!
//! | what stands in the way | a run of an entity | a node's first attempt | an attempt after a wait |
//! |---|---|---|---|
//! | the global pause is on | waits | waits | is kept until the pause ends |
//! | room is [`Level::Low`] | waits | begins | begins |
//! | room is [`Level::Full`] | waits | waits | asks again soon |
//! | the node's lane is out of reach | begins | begins: the failure it meets is recorded | is kept until the lane answers |
//! | the lane has no place | begins | waits | asks again soon |
//!
//! Of several the uppermost decides. What waits is decided again when a pause ends, room changes or
//! a place is given back. An attempt that begins has its place in the lane: it is given back with
//! [`AdmissionGate::give_back`].
//!
//! What it never does: it records nothing, and ends nothing that is under way.

use std::collections::BTreeSet;

use super::{
    circuit_breaker::CircuitBreaker, disk::RoomWatch, global_pause::GlobalPause,
    limits::LaneLimits, timers::Waiter,
};
use crate::{
    model::{RunId, Text},
    room::Level,
};

/// See the module's text.
pub(super) struct AdmissionGate {
    pub(super) pause: GlobalPause,
    pub(super) room: RoomWatch,
    pub(super) lanes: CircuitBreaker,
    pub(super) limits: LaneLimits,
}

/// What asks to begin.
#[derive(Clone, Copy, Debug)]
pub(super) enum WorkRequest<'a> {
    /// A run of an entity.
    Run,
    /// The first attempt of a node, which asks of its lane for a place.
    FirstAttempt { run: RunId, lane: &'a Text },
    /// An attempt after a wait.
    NextAttempt {
        waiter: &'a Waiter,
        lane: &'a Text,
        /// The host that its recorded failure names: what is out of reach where it has no lane.
        failed_at: Option<&'a Text>,
    },
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It begins.
    Granted,
    /// It is decided again, by whatever ends the reason.
    Waits,
    /// Nobody calls it: it asks again after a while.
    AskAgain,
}

impl AdmissionGate {
    /// Whether the candidate may begin now.
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

    /// An attempt in the lane ended.
    pub(super) fn give_back(&mut self, lane: &Text) {
        self.limits.give_back(lane);
    }

    /// The runs that are to be decided again since a lane has a place; see [`LaneLimits::wake`].
    pub(super) fn wake(&mut self) -> BTreeSet<RunId> {
        self.limits.wake()
    }
}

#[cfg(test)]
mod tests;
