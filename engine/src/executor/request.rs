//! What the control loop is asked.

use tokio::sync::oneshot;

use super::{
    error::EngineError,
    parts::{By, Cancelled, Drive, Retried},
};
use crate::{
    model::{EntityId, Name, Text},
    workflow::Wish,
};

pub(super) type Reply<T> = oneshot::Sender<Result<T, EngineError>>;

/// What the control loop is asked.
pub(super) enum Request {
    Desire {
        wishes: Vec<Wish>,
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
        by: By,
        reply: Reply<Cancelled>,
    },
    Drive {
        which: Drive,
        reply: Reply<()>,
    },
    Brake {
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
    NoteState {
        entity: EntityId,
        state: Name,
        detail: Text,
        by: By,
        reply: Reply<()>,
    },
    Close,
}
