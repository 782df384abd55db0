//! One attempt of one step.

use std::{collections::BTreeMap, sync::Arc};

use tokio_util::sync::CancellationToken;

use super::{handle::EngineParts, timers::Waiter};
use crate::{
    blob::Blobs,
    model::{EntityId, Failure, FailureClass, Name, Outcome, Payload, RunId},
    registry::AnyStep,
    step::{ProgressSink, StepContext},
};

/// What an attempt needs to know.
pub(super) struct Job {
    pub(super) entity: EntityId,
    pub(super) generation: u64,
    pub(super) run: RunId,
    pub(super) node: Name,
    pub(super) attempt: u32,
    pub(super) intended_before: bool,
    pub(super) sequence: u64,
    pub(super) step: Arc<dyn AnyStep>,
    pub(super) params: Payload,
    pub(super) outputs: BTreeMap<Name, Payload>,
    pub(super) previous: Option<Payload>,
    pub(super) stopped: CancellationToken,
    pub(super) progress: ProgressSink,
}

/// How an attempt ended.
pub(super) struct End {
    pub(super) waiter: Waiter,
    pub(super) result: Result<(Outcome, Payload), Failure>,
}

impl Job {
    /// Runs the step. What it needs that is kept in blobs is read first.
    pub(super) async fn run(self, parts: Arc<EngineParts>) -> End {
        let waiter = (self.run, self.node.clone());
        End {
            result: self.attempt(&parts).await,
            waiter,
        }
    }

    async fn attempt(self, parts: &EngineParts) -> Result<(Outcome, Payload), Failure> {
        let blobs = parts.blobs.as_ref();
        let params = read(blobs, &self.params).await?;
        let mut outputs = BTreeMap::new();
        for (node, payload) in &self.outputs {
            outputs.insert(node.clone(), read(blobs, payload).await?);
        }
        let previous = match &self.previous {
            Some(payload) => Some(read(blobs, payload).await?.into()),
            None => None,
        };
        let cx = StepContext {
            entity: self.entity,
            generation: self.generation,
            run: self.run,
            node: self.node,
            attempt: self.attempt,
            intended_before: self.intended_before,
            journal_id: parts.journal_id.clone(),
            sequence: self.sequence,
            stopped: self.stopped,
            outputs: Arc::new(outputs),
            previous,
            checkpoints: parts.checkpoints.clone(),
            progress: self.progress,
        };
        let done = self.step.attempt(&cx, &params).await?;
        let output = blobs.put(&done.output).await.map_err(blob_failure)?;
        Ok((done.outcome, output))
    }
}

async fn read(blobs: &dyn Blobs, payload: &Payload) -> Result<Vec<u8>, Failure> {
    blobs.get(payload).await.map_err(blob_failure)
}

fn blob_failure(error: crate::journal::JournalError) -> Failure {
    Failure::new(FailureClass::Transient, "VSI0010", error.to_string())
        .with_remedy("see that the state directory has room and can be read and written")
}
