//! The global pause: while it is on no run is opened and no step started, over restarts as well.
//!
//! It is the recorded state of an entity of its own, so that who pulled it, when and why is in the
//! history like everything else. What is under way when it is set ends as it would have; desired states
//! are recorded, and worked on once it is let go.

use std::collections::BTreeSet;

use super::{control::Control, projection::Projection, recorder::EventCause, timers::Waiter};
use crate::model::{EntityId, EventKind, Name, Text};

/// What the global pause's entity is called; the name is stored.
const KIND: &str = "engine";
const ID: &str = "brake";

/// The global pause's recorded states.
const ON: &str = "Paused";
const OFF: &str = "Working";

/// Whether the global pause is on, and whose waits were over meanwhile.
pub(super) struct GlobalPause {
    on: bool,
    kept: BTreeSet<Waiter>,
}

impl GlobalPause {
    pub(super) fn of(projection: &Projection) -> Self {
        Self::new(why(projection).is_some())
    }

    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            kept: BTreeSet::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Keeps a node whose wait is over as long as the pause is on. Whether it is.
    pub(super) fn hold_back(&mut self, waiter: &Waiter) -> bool {
        if self.on {
            self.kept.insert(waiter.clone());
        }
        self.on
    }

    /// Begins or ends it; the nodes that continue where it ends.
    pub(super) fn set(&mut self, on: bool) -> BTreeSet<Waiter> {
        self.on = on;
        if on {
            BTreeSet::new()
        } else {
            std::mem::take(&mut self.kept)
        }
    }
}

/// Why the global pause is on; `None` where it is off.
pub(super) fn why(projection: &Projection) -> Option<Text> {
    let (state, reason) = projection.entity(&entity()?)?.state.clone()?;
    (state.as_str() == ON).then_some(reason)
}

fn entity() -> Option<EntityId> {
    EntityId::new(Name::of(KIND), ID).ok()
}

impl Control {
    /// Sets the global pause or lifts it; nothing is recorded where that changes nothing.
    pub(super) fn set_global_pause(&mut self, on: bool, cause: &EventCause) {
        let Some(entity) = entity().filter(|_| self.gate.pause.is_on() != on) else {
            return;
        };
        let state = Name::of(if on { ON } else { OFF });
        let detail = cause.reason.clone();
        let kind = EventKind::StateChanged { state, detail };
        self.recorder.entity_event(&entity, kind, cause);
        let going_on = self.gate.pause.set(on);
        if !on {
            self.decide_all_again();
        }
        for waiter in going_on {
            self.due(&waiter);
        }
    }
}
