//! The global pause: while it is on, no run is opened and no step started. It survives restarts.
//!
//! It is recorded state of its own entity, so the history shows who set it, when and why. Steps in
//! progress when it is set end normally. Desired states are recorded, and worked on after the pause
//! ends.

use std::collections::BTreeSet;

use super::{projection::Projection, timers::Waiter};
use crate::model::{EntityId, Name, Text};

/// The kind and ID of the global pause's entity. These names are stored.
const KIND: &str = "engine";
const ID: &str = "brake";

/// The recorded states of the global pause.
pub(super) const ON: &str = "Paused";
pub(super) const OFF: &str = "Working";

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

/// The entity whose recorded state it is.
pub(super) fn entity() -> Option<EntityId> {
    EntityId::new(Name::of(KIND), ID).ok()
}
