//! The global pause: while it is on, no run is opened and no step started. It survives restarts.
//!
//! It is recorded state of its own entity, so the history shows who set it, when and why. Steps in
//! progress when it is set end normally. Desired states are recorded, and worked on after the pause
//! ends.

use std::collections::BTreeSet;

use super::{control::Control, projection::Projection, recorder::EventCause, timers::Waiter};
use crate::model::{EntityId, EventKind, Name, Text};

/// The kind and ID of the global pause's entity. These names are stored.
const KIND: &str = "engine";
const ID: &str = "brake";

/// The recorded states of the global pause.
const ON: &str = "Paused";
const OFF: &str = "Working";

/// Whether the global pause is on, and the nodes whose waits ended during it.
pub(super) struct GlobalPause {
    on: bool,
    waiters: BTreeSet<Waiter>,
}

impl GlobalPause {
    pub(super) fn of(projection: &Projection) -> Self {
        Self::new(why(projection).is_some())
    }

    pub(super) fn new(on: bool) -> Self {
        Self {
            on,
            waiters: BTreeSet::new(),
        }
    }

    pub(super) fn is_on(&self) -> bool {
        self.on
    }

    /// Holds back a node whose wait is over while the pause is on. Returns whether it is on.
    pub(super) fn hold_back(&mut self, waiter: &Waiter) -> bool {
        if self.on {
            self.waiters.insert(waiter.clone());
        }
        self.on
    }

    /// Sets or ends the pause; returns the nodes that continue when it ends.
    pub(super) fn set(&mut self, on: bool) -> BTreeSet<Waiter> {
        self.on = on;
        if on {
            BTreeSet::new()
        } else {
            std::mem::take(&mut self.waiters)
        }
    }
}

/// The reason of the global pause; `None` if it is off.
pub(super) fn why(projection: &Projection) -> Option<Text> {
    let (state, reason) = projection.entity(&entity()?)?.state.clone()?;
    (state.as_str() == ON).then_some(reason)
}

fn entity() -> Option<EntityId> {
    EntityId::new(Name::of(KIND), ID).ok()
}

impl Control {
    /// Sets the global pause or ends it; records nothing if that changes nothing.
    pub(super) async fn set_global_pause(&mut self, on: bool, cause: &EventCause) {
        let Some(entity) = entity().filter(|_| self.gate.pause.is_on() != on) else {
            return;
        };
        let state = Name::of(if on { ON } else { OFF });
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
