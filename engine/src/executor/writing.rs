//! Writes one batch while the loop decides the next one.
//!
//! The journal needs a large part of the time that the loop needs to decide, and runs on another
//! thread. So the loop continues to decide while a batch is written, and hands over the next batch
//! once that one is durable.
//!
//! # Guarantees
//! - Only one batch is written at a time, in the order in which the batches were decided.
//! - Nothing of a batch is shown or carried out before it and all earlier batches are durable.
//! - The states shown are those after that batch (`WritingBatch::states`), without later decisions.
//! - A batch that cannot be written ends the loop. Callers that wait for that batch or for the next
//!   one receive the error.

use std::sync::Mutex;

use super::{control::Control, error::EngineError, loop_state::WritingBatch};
use crate::{
    journal::{JournalError, Record},
    model::RunId,
};

impl Control {
    /// Hands the decided events to the journal, unless another batch is being written.
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

    /// Publishes and carries out the batch that was written.
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
                // They are refused together with those of the next batch.
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

    /// Whether events of a run were decided and are not durable yet.
    pub(super) fn is_unwritten(&self, run: RunId) -> bool {
        let writing = self.writing.as_ref();
        let is_written = writing.is_some_and(|batch| batch.states.runs.contains_key(&run));
        is_written || self.recorder.is_in_batch(run)
    }
}
