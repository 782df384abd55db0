//! Executes one attempt of one step.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    config::EngineConfig, ledger::AttemptLedger, projection::UnreadableEntity,
    request::EngineRequest, timers::Waiter, unclean_ends::CountOfAttempt,
};
use crate::{
    blob::Blobs,
    journal::JournalError,
    model::{EntityId, Failure, FailureClass, Name, Objects, Outcome, Payload, RunId},
    registry::AnyStep,
    step::{ProgressSink, Recorded, StepContext},
};

/// The inputs of an attempt.
pub(super) struct Job {
    pub(super) entity: EntityId,
    pub(super) generation: u64,
    pub(super) run: RunId,
    pub(super) node: Name,
    pub(super) attempt: u32,
    pub(super) intended_before: bool,
    pub(super) sequence: u64,
    pub(super) recorded: Arc<dyn Recorded>,
    pub(super) step_name: Name,
    pub(super) step: Arc<dyn AnyStep>,
    pub(super) params: Payload,
    pub(super) outputs: BTreeMap<Name, Payload>,
    pub(super) previous: Option<Payload>,
    pub(super) stopped: CancellationToken,
    pub(super) progress: ProgressSink,
    pub(super) engine: mpsc::Sender<EngineRequest>,
    pub(super) objects: Objects,
    /// The count of unclean ends, if there is something to count.
    pub(super) unclean: Option<CountOfAttempt>,
}

/// The result of an attempt.
pub(super) struct AttemptEnd {
    pub(super) waiter: Waiter,
    pub(super) result: Result<(Outcome, Payload), Failure>,
    /// Whether the next attempt begins further on than this one did.
    pub(super) advanced: bool,
}

impl Job {
    /// Runs the step. Its inputs that are stored in blobs are read first.
    pub(super) async fn run(mut self, parts: Arc<EngineConfig>) -> AttemptEnd {
        let waiter = (self.run, self.node.clone());
        let advanced = Arc::<AtomicBool>::default();
        let (unclean, checkpoints) = (self.unclean.take(), parts.checkpoints.as_ref());
        if let Some(count) = &unclean {
            count.begin(checkpoints, &waiter).await;
        }
        let result = self.attempt(&parts, advanced.clone()).await;
        if let Some(count) = &unclean {
            count.end(checkpoints, &waiter).await;
        }
        AttemptEnd {
            result,
            advanced: advanced.load(Ordering::Relaxed),
            waiter,
        }
    }

    async fn attempt(
        self,
        parts: &EngineConfig,
        advanced: Arc<AtomicBool>,
    ) -> Result<(Outcome, Payload), Failure> {
        let blobs = parts.blobs.as_ref();
        let params = read(blobs, &self.entity, &self.params).await?;
        let mut outputs = BTreeMap::new();
        for (node, payload) in &self.outputs {
            outputs.insert(node.clone(), read(blobs, &self.entity, payload).await?);
        }
        let previous = match &self.previous {
            Some(payload) => Some(read(blobs, &self.entity, payload).await?.into()),
            None => None,
        };
        let ledger = Arc::new(AttemptLedger {
            entity: self.entity.clone(),
            waiter: (self.run, self.node.clone()),
            objects: self.objects,
            engine: self.engine.clone(),
        });
        let intend = intend(
            self.engine,
            self.entity.clone(),
            self.step_name,
            self.intended_before,
        );
        let cx = StepContext {
            entity: self.entity,
            generation: self.generation,
            run: self.run,
            node: self.node,
            attempt: self.attempt,
            intended_before: self.intended_before,
            journal_id: parts.journal_id.clone(),
            sequence: self.sequence,
            recorded: self.recorded,
            stopped: self.stopped,
            outputs: Arc::new(outputs),
            previous,
            checkpoints: parts.checkpoints.clone(),
            progress: self.progress,
            ledger,
            advanced,
        };
        let completion = self.step.attempt(&cx, &params, intend.boxed()).await?;
        let output = blobs.put(&completion.output).await.map_err(blob_failure)?;
        Ok((completion.outcome, output))
    }
}

/// Makes durable that the step is about to act for the entity, unless that was recorded before.
async fn intend(
    engine: mpsc::Sender<EngineRequest>,
    entity: EntityId,
    step: Name,
    recorded: bool,
) -> Result<(), Failure> {
    if recorded {
        return Ok(());
    }
    let (reply, durable) = oneshot::channel();
    let ended = || {
        Failure::new(
            FailureClass::Transient,
            "VSI0007",
            "the engine ended before the step acted",
        )
        .with_remedy("start again; nothing was done yet")
    };
    let request = EngineRequest::Intend {
        entity,
        step,
        reply,
    };
    engine.send(request).await.map_err(|_| ended())?;
    durable.await.map_err(|_| ended())?.map_err(|_| ended())
}

async fn read(blobs: &dyn Blobs, entity: &EntityId, payload: &Payload) -> Result<Vec<u8>, Failure> {
    blobs.get(payload).await.map_err(|error| match &error {
        damage if damage.is_damage() => UnreadableEntity::lost(entity, &error.to_string()),
        _ => blob_failure(error),
    })
}

fn blob_failure(error: JournalError) -> Failure {
    Failure::new(FailureClass::Transient, "VSI0010", error.to_string())
        .with_remedy("see that the state directory has room and can be read and written")
}
