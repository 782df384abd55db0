//! The error for events that cannot follow the earlier ones.

use super::event::EventKind;

/// An event that cannot follow what came before it: the journal or the program is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow what came before: {why}")]
pub struct Divergence {
    event: &'static str,
    why: String,
}

impl Divergence {
    pub(crate) fn new(event: &EventKind, why: impl Into<String>) -> Self {
        Self {
            event: event.type_name(),
            why: why.into(),
        }
    }
}
