//! The requests to the control loop.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::{
    config::{By, Cancelled, Drive, Retried},
    error::EngineError,
    timers::Waiter,
};
use crate::{
    model::{EntityId, EntityState, Name, RunId, Text, Timestamp},
    step::ObjectFact,
    workflow::DesiredUpdate,
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// A request to the control loop.
pub(super) enum EngineRequest {
    Submit {
        updates: Vec<DesiredUpdate>,
        by: By,
        reply: Reply<Vec<u64>>,
    },
    Retry {
        entity: EntityId,
        by: By,
        reply: Reply<Retried>,
    },
    Cancel {
        entity: EntityId,
        /// The only run to cancel; if `None`, the open run.
        run: Option<RunId>,
        by: By,
        reply: Reply<Cancelled>,
    },
    Drive {
        which: Drive,
        reply: Reply<()>,
    },
    GlobalPause {
        on: bool,
        by: By,
        reply: Reply<()>,
    },
    Erased {
        entity: EntityId,
        secret: Name,
        by: By,
        reply: Reply<()>,
    },
    Intend {
        entity: EntityId,
        step: Name,
        reply: Reply<()>,
    },
    /// Records a fact about an object of the entity.
    Object {
        entity: EntityId,
        waiter: Waiter,
        fact: ObjectFact,
        reply: Reply<()>,
    },
    NoteState {
        entity: EntityId,
        state: Name,
        detail: Text,
        by: By,
        reply: Reply<()>,
    },
    /// Records an action that changes neither the desired state nor the state.
    Note {
        entity: EntityId,
        what: Name,
        detail: Text,
        by: By,
        reply: Reply<()>,
    },
    /// Drops the states of runs that ended before that moment and that no existing entity refers
    /// to.
    Forget {
        before: Timestamp,
        is_gone: Arc<GoneTest>,
        reply: Reply<usize>,
    },
    Close,
}

/// Decides which entities are deleted for good.
pub(super) type GoneTest = dyn Fn(&EntityId, &EntityState) -> bool + Send + Sync;

impl EngineRequest {
    /// The single entity that the request is about, if there is one.
    pub(super) fn entity(&self) -> Option<&EntityId> {
        match self {
            Self::Retry { entity, .. }
            | Self::Cancel { entity, .. }
            | Self::Erased { entity, .. }
            | Self::Intend { entity, .. }
            | Self::Object { entity, .. }
            | Self::Note { entity, .. }
            | Self::NoteState { entity, .. } => Some(entity),
            Self::Submit { .. }
            | Self::Drive { .. }
            | Self::GlobalPause { .. }
            | Self::Forget { .. }
            | Self::Close => None,
        }
    }

    /// Answers with an error. The caller may have stopped waiting.
    pub(super) fn refuse(self, why: EngineError) {
        match self {
            Self::Submit { reply, .. } => drop(reply.send(Err(why))),
            Self::Retry { reply, .. } => drop(reply.send(Err(why))),
            Self::Cancel { reply, .. } => drop(reply.send(Err(why))),
            Self::Forget { reply, .. } => drop(reply.send(Err(why))),
            Self::Drive { reply, .. }
            | Self::GlobalPause { reply, .. }
            | Self::Erased { reply, .. }
            | Self::Intend { reply, .. }
            | Self::Object { reply, .. }
            | Self::Note { reply, .. }
            | Self::NoteState { reply, .. } => drop(reply.send(Err(why))),
            Self::Close => {}
        }
    }
}
