//! What the loop does when an obstacle to work appears or is removed: a lane, the disk, the global pause.

use super::{
    circuit_breaker::Probed, control::Control, global_pause, loop_state::Effect, notice::Notice,
    recorder::EventCause, timers::Waiter,
};
use crate::{
    model::{EventKind, Failure, Name, NodeState, Text},
    room::DiskReading,
};

impl Control {
    /// Checks whether an attempt failed because its lane does not answer.
    pub(super) fn lane_failed(&mut self, lane: &Text, failure: &Failure) {
        let lane = if lane.is_empty() { &failure.host } else { lane };
        self.gate.lanes.note(lane, failure);
    }

    pub(super) async fn probed(&mut self, probed: Probed) {
        let Probed { lane, answer } = probed;
        match answer {
            Err(failure) if self.parts.lanes.is_down(&failure) => {
                self.gate.lanes.still_down(&lane, &failure);
            }
            // If anything else is wrong, the next attempts will fail with that error and its
            // remedy.
            Ok(()) | Err(_) => {
                let mut waiting = self.gate.lanes.up(&lane);
                waiting.extend(self.delayed_for(&lane));
                for waiter in waiting {
                    self.timers.disarm(&waiter);
                    self.due(&waiter).await;
                }
            }
        }
    }

    /// Nodes of open runs that are still delayed because of the lane.
    fn delayed_for(&self, lane: &Text) -> Vec<Waiter> {
        let projection = &self.recorder.projection;
        let runs = projection.entities.values().filter_map(|entry| {
            let run = entry.state.active.as_ref()?.run;
            Some((run, projection.run(run)?))
        });
        let waits = |state: &NodeState| match state {
            NodeState::Delayed { failure, .. } => {
                failure.host == *lane && self.parts.lanes.is_down(failure)
            }
            _ => false,
        };
        runs.flat_map(|(run, state)| {
            let nodes = state.nodes.iter().filter(|(_, state)| waits(state));
            nodes.map(move |(node, _)| (run, node.clone()))
        })
        .collect()
    }

    /// Decides again everything that waited for room.
    pub(super) fn room_changed(&mut self, seen: DiskReading) {
        self.effects.push(Effect::Notice(Notice::Room(seen)));
        self.decide_all_again();
    }

    /// Decides all entities and runs again, after an obstacle for all of them was removed.
    pub(super) fn decide_all_again(&mut self) {
        let projection = &self.recorder.projection;
        self.dirty_entities
            .extend(projection.entities.keys().cloned());
        let entries = projection.entities.values();
        let active = entries.filter_map(|entry| Some(entry.state.active.as_ref()?.run));
        self.dirty_runs.extend(active);
    }

    /// Sets the global pause or ends it; records nothing if that changes nothing.
    pub(super) async fn set_global_pause(&mut self, on: bool, cause: &EventCause) {
        let Some(entity) = global_pause::entity().filter(|_| self.gate.pause.is_on() != on) else {
            return;
        };
        let state = Name::of(if on {
            global_pause::ON
        } else {
            global_pause::OFF
        });
        let detail = cause.reason.clone();
        let kind = EventKind::StateChanged { state, detail };
        self.recorder.entity_event(&entity, kind, cause);
        let released = self.gate.pause.set(on);
        if !on {
            self.decide_all_again();
        }
        for waiter in released {
            self.due(&waiter).await;
        }
    }
}
