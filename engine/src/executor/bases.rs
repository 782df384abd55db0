//! Bases: now and then the states of everything go into the journal itself, so that a look into
//! the past and a start without an index fold few events.
//!
//! A base is written beside the loop; the event that commits to it is recorded once it is durable.

use super::{control::Control, projection::Projection, recorder::EventCause};
use crate::{
    audit::sign_base,
    journal::Offset,
    model::{EventKind, Hash, StreamId, Text},
};

/// A base that is durable.
pub(super) struct BaseWritten {
    as_of: Offset,
    hash: Hash,
}

impl Control {
    /// Has a base of what is durable written where the journal has outgrown its newest one.
    pub(super) fn write_due_base(&mut self) {
        if !self.bases.is_empty() || !self.parts.journal.base_is_due() {
            return;
        }
        // Whoever began from it would not learn of what cannot be understood.
        if !self.recorder.projection.unreadable.is_empty() {
            return;
        }
        let (journal, states) = (
            self.parts.journal.clone(),
            self.shared.projection(Projection::states),
        );
        let as_of = states.as_of;
        self.bases.spawn(async move {
            match journal.write_base(states).await {
                Ok(hash) => hash.map(|hash| BaseWritten { as_of, hash }),
                Err(error) => {
                    tracing::warn!(%error, "no base was written");
                    None
                }
            }
        });
    }

    /// What an event commits to is believed; a base without one is of use for starting alone.
    pub(super) fn base_written(&mut self, base: Option<BaseWritten>) {
        let Some(BaseWritten { as_of, hash }) = base else {
            return;
        };
        let signer = self.shared.signer.get();
        let signature = signer.map_or_else(Text::default, |key| {
            sign_base(&self.parts.journal_id, as_of, hash, key)
        });
        let kind = EventKind::BaseWritten {
            as_of,
            hash,
            signature,
        };
        self.recorder
            .record(StreamId::Journal, kind, &EventCause::engine());
    }
}
