//! Writes bases: from time to time all states are written into the journal itself, so that a query
//! of the past and a start without an index fold few events.
//!
//! A base is written in a separate task; the event that commits to it is recorded once it is
//! durable.

use super::{
    control::Control,
    error::EngineError,
    loop_state::{BaseEnd, BaseWritten},
    projection::Projection,
    recorder::EventCause,
};
use crate::{
    audit::sign_base,
    journal::JournalError,
    model::{EventKind, StreamId, Text},
};

impl Control {
    /// Starts writing a base of the durable states if one is due.
    pub(super) fn write_due_base(&mut self) {
        if !self.bases.is_empty() || !self.parts.journal.base_is_due() {
            return;
        }
        // A base would hide the unreadable entities from a process that loads it.
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

    /// Records the event that commits to the base, if one was written.
    ///
    /// # Errors
    /// If the task that wrote it panicked: it is unknown what it left in the journal.
    pub(super) fn base_ended(&mut self, base: BaseEnd) -> Result<(), EngineError> {
        let written = base.map_err(|error| {
            let why = format!("the writing of a base ended unexpectedly: {error}");
            EngineError::Journal(JournalError::Storage(why))
        })?;
        written.into_iter().for_each(|new| self.commit_to(&new));
        Ok(())
    }

    /// Without such an event a base is used only for starting.
    fn commit_to(&mut self, base: &BaseWritten) {
        let BaseWritten { as_of, hash } = *base;
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
