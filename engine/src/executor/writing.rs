//! The batch that is being made durable, while the next one is decided.
//!
//! The journal takes a good part of the time that the loop takes to decide, and is another thread: so
//! the loop continues deciding while a batch is written, and hands over what came together meanwhile once
//! that is durable.
//!
//! # Guarantees
//! - One batch is written at a time, in the order in which they were decided.
//! - Nothing of a batch is shown or carried out before it is durable, nor anything of a later one.
//! - What is shown are the states as that batch left them ([`WritingBatch::states`]), without what was
//!   decided since.
//! - A batch that cannot be written is the end of the loop. Whoever waits for that batch or for
//!   the next one is told so.

use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, pending};

use super::{control::Control, effects::Effect, error::EngineError, projection::Projection};
use crate::{
    journal::{JournalError, Record},
    model::RunId,
};

/// A batch in the hands of the journal.
pub(super) struct WritingBatch {
    /// Never locked: only so that the loop, which is lent while it waits, is `Sync`.
    append: Mutex<BoxFuture<'static, Result<Vec<Record>, JournalError>>>,
    /// The states of what it touches.
    states: Projection,
    /// What is done once it is durable.
    effects: Vec<Effect>,
}

impl WritingBatch {
    /// Waits until the batch is durable; for ever where none is written. Cancel safe. To be called no
    /// more for a batch that is.
    pub(super) async fn written(batch: &mut Option<Self>) -> Result<Vec<Record>, JournalError> {
        match batch {
            Some(batch) => {
                let append = batch.append.get_mut();
                append.unwrap_or_else(PoisonError::into_inner).await
            }
            None => pending().await,
        }
    }
}

impl Control {
    /// Hands what was decided to the journal, unless another batch is being written.
    pub(super) fn write(&mut self) -> Result<(), EngineError> {
        if self.writing.is_some() {
            return Ok(());
        }
        let (batch, states) = self.recorder.seal()?;
        let effects = std::mem::take(&mut self.effects);
        if batch.is_empty() {
            self.carry_out_effects(effects);
            return Ok(());
        }
        if self.parts.lease.check().is_err() {
            self.effects = effects;
            return Err(JournalError::LeaseLost.into());
        }
        let journal = self.parts.journal.clone();
        self.writing = Some(WritingBatch {
            append: Mutex::new(Box::pin(async move { journal.append(batch).await })),
            states,
            effects,
        });
        Ok(())
    }

    /// Shows and carries out the batch that was written.
    pub(super) fn written(
        &mut self,
        written: Result<Vec<Record>, JournalError>,
    ) -> Result<(), EngineError> {
        let Some(mut batch) = self.writing.take() else {
            return Ok(());
        };
        let records = match written {
            Ok(records) => records,
            Err(error) => {
                // They are refused with those of the next one.
                self.effects.splice(0..0, batch.effects);
                return Err(error.into());
            }
        };
        for record in &records {
            batch.states.note_recorded(record);
        }
        self.recorder.projection.note_written(&batch.states);
        self.show(batch.states, records);
        self.carry_out_effects(batch.effects);
        self.write_due_base();
        Ok(())
    }

    /// Writes everything that was decided.
    pub(super) async fn write_out(&mut self) -> Result<(), EngineError> {
        self.write()?;
        while self.writing.is_some() {
            let written = WritingBatch::written(&mut self.writing).await;
            self.written(written)?;
            self.write()?;
        }
        Ok(())
    }

    /// Whether something of a run was decided and is not durable yet.
    pub(super) fn is_unwritten(&self, run: RunId) -> bool {
        let writing = self.writing.as_ref();
        let is_written = writing.is_some_and(|batch| batch.states.runs.contains_key(&run));
        is_written || self.recorder.is_in_batch(run)
    }
}
