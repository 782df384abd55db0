//! What the control loop has under way.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use futures::future::{BoxFuture, pending};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use super::{attempt::Job, error::EngineError, notice::Notice, projection::Projection};
use crate::{
    journal::{JournalError, Offset, Record},
    model::{EntityId, Hash, RunId, Text},
};

/// The entities that the engine works for.
#[derive(Default)]
pub(super) struct Driven {
    pub(super) all: bool,
    pub(super) these: HashSet<EntityId>,
    /// Whether the unwanted runs that an earlier process left were looked up.
    pub(super) unwanted: bool,
}

/// An attempt in progress.
pub(super) struct InFlight {
    pub(super) stop: CancellationToken,
    pub(super) lane: Text,
    pub(super) interruptible: bool,
    /// The attempt's number if its start is not recorded: it repeats a recorded failure and is
    /// recorded only if it ends differently.
    pub(super) unrecorded: Option<u32>,
}

/// An action that is carried out once the batch is durable.
pub(super) enum Effect {
    Attempt(Box<Job>),
    Forget(RunId),
    Notice(Notice),
    Reply(Box<dyn FnOnce(Result<(), EngineError>) + Send + Sync>),
}

/// A batch that the journal is writing.
pub(super) struct WritingBatch {
    /// Never locked: it only makes the loop `Sync`, which borrows the future while it waits.
    pub(super) append: Mutex<BoxFuture<'static, Result<Vec<Record>, JournalError>>>,
    /// The states of the streams that the batch touches.
    pub(super) states: Projection,
    /// The effects to carry out once the batch is durable.
    pub(super) effects: Vec<Effect>,
}

impl WritingBatch {
    /// Waits until the batch is durable; pending forever if none is being written. Cancel safe.
    /// Must not be called again for a batch that is durable.
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

/// How a task that writes a base ended; `None` if no base was written.
pub(super) type BaseEnd = Result<Option<BaseWritten>, JoinError>;

/// A base that is durable.
pub(super) struct BaseWritten {
    pub(super) as_of: Offset,
    pub(super) hash: Hash,
}
