//! Version 1 of the stored types.
//!
//! Nothing here ever changes its meaning, is reordered or is removed: the order of fields and
//! variants is the format. New variants are appended; any other change needs a version 2.

use bincode::{Decode, Encode};

use self::plain::StoredName;
use super::{Mirror, Unreadable};
use crate::model;

mod plain;

/// Declares a stored struct or enum, and its conversion from and to the model's type of the same
/// name.
macro_rules! mirror {
    ($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        pub(crate) struct $name { $($field: $type,)* }

        impl Mirror<model::$name> for $name {
            fn store(model: &model::$name) -> Self {
                Self { $($field: Mirror::store(&model.$field),)* }
            }

            fn restore(self) -> Result<model::$name, Unreadable> {
                Ok(model::$name { $($field: self.$field.restore()?,)* })
            }
        }
    };
    ($(#[$meta:meta])* enum $name:ident { $($variant:ident { $($field:ident: $type:ty,)* })* }) => {
        $(#[$meta])*
        pub(crate) enum $name { $($variant { $($field: $type,)* },)* }

        impl Mirror<model::$name> for $name {
            fn store(model: &model::$name) -> Self {
                match model {
                    $(model::$name::$variant { $($field,)* } =>
                        Self::$variant { $($field: Mirror::store($field),)* },)*
                }
            }

            fn restore(self) -> Result<model::$name, Unreadable> {
                Ok(match self {
                    $(Self::$variant { $($field,)* } =>
                        model::$name::$variant { $($field: $field.restore()?,)* },)*
                })
            }
        }
    };
}

pub(super) mod state;

/// The identity of a run: the 128 bits of its ULID, most significant byte first.
type RunId = [u8; 16];

/// The identity of a warrant, as that of a run.
type WarrantId = [u8; 16];

/// A SHA-256 hash.
type Hash = [u8; 32];

mirror!(
    #[derive(Encode, Decode)]
    struct Event {
        at: u64,
        actor: Actor,
        reason: String,
        kind: EventKind,
    }
);

mirror!(#[derive(Encode, Decode)] enum EventKind {
    Desired { generation: u64, workflow: StoredName, precedence: Precedence, desired: Payload, }
    RunOpened { run: RunId, workflow: StoredName, generation: u64, }
    RunClosed { run: RunId, result: RunResult, }
    Intent { step: StoredName, }
    StateChanged { state: StoredName, detail: String, }
    RetryRequested {}
    SecretErased { secret: StoredName, }
    RunStarted { entity: EntityId, generation: u64, graph: Graph, }
    StepStarted { node: StoredName, attempt: u32, }
    StepSucceeded { node: StoredName, attempt: u32, outcome: Outcome, output: Payload, }
    StepFailed { node: StoredName, attempt: u32, failure: Failure, retry: Option<Wait>, }
    StepBlocked { node: StoredName, attempt: u32, failure: Failure, recheck: Option<Wait>, }
    StepInterrupted { node: StoredName, attempt: u32, }
    StepSkipped { node: StoredName, }
    TimerDue { node: StoredName, }
    Signal { signal: StoredName, }
    CancelRequested { mode: CancelMode, }
    Paused {}
    Resumed {}
    RunFinished { result: RunResult, }
    RetryScheduled { wait: Wait, }
    Compacted { horizon: u64, sealed: Hash, archive: Hash, }
    ClockJumped { by_ms: i64, }
    BaseWritten { as_of: u64, hash: Hash, signature: String, }
    RangeLost { from: u64, to: u64, }
    Noted { what: StoredName, detail: String, }
    ObjectMade { object: String, identity: String, }
    ObjectInUse { object: String, }
    ObjectGone { object: String, }
    Warranted { warrant: WarrantId, object: String, act: StoredName, shown: String, }
    WarrantSpent { warrant: WarrantId, run: RunId, node: StoredName, }
    WarrantVoided { warrant: WarrantId, }
    ObjectBegun { object: String, }
});

mirror!(#[derive(Encode, Decode)] enum Precedence { Queue {} Supersede {} Supreme {} Record {} });
mirror!(#[derive(Encode, Decode)] enum CancelMode { User {} Superseded {} Unwanted {} });
mirror!(#[derive(Encode, Decode)] enum Outcome { AlreadyPresent {} Created {} Updated {} });
mirror!(#[derive(Encode, Decode)] enum FailureClass { Transient {} Recheck {} Blocked {} Failed {} });

mirror!(
    #[derive(Encode, Decode)]
    struct Wait {
        delay_ms: u64,
        due: u64,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct Failure {
        class: FailureClass,
        code: StoredName,
        message: String,
        host: String,
        object: String,
        remedy: String,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct Graph {
        workflow: StoredName,
        version: u16,
        nodes: Vec<Node>,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct Node {
        name: StoredName,
        after: Vec<StoredName>,
        work: Work,
        lane: String,
        interruptible: bool,
    }
);

mirror!(#[derive(Encode, Decode)] enum Work {
    Step { step: StoredName, version: u16, params: Payload, }
    Entity { entity: EntityId, workflow: StoredName, desired: Payload, }
});

/// Who caused an event.
#[derive(Encode, Decode)]
pub(crate) enum Actor {
    Engine,
    Unix { uid: u32, name: String },
    Kubernetes(String),
    Token(String),
}

/// How a run ended.
#[derive(Encode, Decode)]
pub(crate) enum RunResult {
    Succeeded,
    Failed(Failure),
    Cancelled,
    Superseded,
}

/// Parameters, outputs and desired states.
#[derive(Encode, Decode)]
pub(crate) enum Payload {
    Inline(Vec<u8>),
    Blob { hash: Hash, len: u64 },
}

/// The identity of an entity.
#[derive(Encode, Decode)]
pub(crate) struct EntityId {
    kind: StoredName,
    id: String,
}

/// The stream a record belongs to.
#[derive(Encode, Decode)]
pub(crate) enum StreamId {
    Entity(EntityId),
    Run(RunId),
    Journal,
}

impl Mirror<model::Actor> for Actor {
    fn store(model: &model::Actor) -> Self {
        match model {
            model::Actor::Engine => Self::Engine,
            model::Actor::Unix { uid, name } => Self::Unix {
                uid: *uid,
                name: Mirror::store(name),
            },
            model::Actor::Kubernetes(name) => Self::Kubernetes(Mirror::store(name)),
            model::Actor::Token(name) => Self::Token(Mirror::store(name)),
        }
    }

    fn restore(self) -> Result<model::Actor, Unreadable> {
        Ok(match self {
            Self::Engine => model::Actor::Engine,
            Self::Unix { uid, name } => model::Actor::Unix {
                uid,
                name: name.restore()?,
            },
            Self::Kubernetes(name) => model::Actor::Kubernetes(name.restore()?),
            Self::Token(name) => model::Actor::Token(name.restore()?),
        })
    }
}

impl Mirror<model::RunResult> for RunResult {
    fn store(model: &model::RunResult) -> Self {
        match model {
            model::RunResult::Succeeded => Self::Succeeded,
            model::RunResult::Failed(failure) => Self::Failed(Mirror::store(failure)),
            model::RunResult::Cancelled => Self::Cancelled,
            model::RunResult::Superseded => Self::Superseded,
        }
    }

    fn restore(self) -> Result<model::RunResult, Unreadable> {
        Ok(match self {
            Self::Succeeded => model::RunResult::Succeeded,
            Self::Failed(failure) => model::RunResult::Failed(failure.restore()?),
            Self::Cancelled => model::RunResult::Cancelled,
            Self::Superseded => model::RunResult::Superseded,
        })
    }
}

impl Mirror<model::Payload> for Payload {
    fn store(model: &model::Payload) -> Self {
        match model {
            model::Payload::Inline(bytes) => Self::Inline(bytes.clone()),
            model::Payload::Blob { hash, len } => Self::Blob {
                hash: hash.0,
                len: *len,
            },
        }
    }

    fn restore(self) -> Result<model::Payload, Unreadable> {
        Ok(match self {
            Self::Inline(bytes) => model::Payload::Inline(bytes),
            Self::Blob { hash, len } => model::Payload::Blob {
                hash: model::Hash(hash),
                len,
            },
        })
    }
}

impl Mirror<model::EntityId> for EntityId {
    fn store(model: &model::EntityId) -> Self {
        Self {
            kind: Mirror::store(model.kind()),
            id: model.id().to_owned(),
        }
    }

    fn restore(self) -> Result<model::EntityId, Unreadable> {
        let invalid = |e: model::InvalidId| Unreadable::Damaged(e.to_string());
        model::EntityId::new(self.kind.restore()?, self.id).map_err(invalid)
    }
}

impl Mirror<model::StreamId> for StreamId {
    fn store(model: &model::StreamId) -> Self {
        match model {
            model::StreamId::Entity(entity) => Self::Entity(Mirror::store(entity)),
            model::StreamId::Run(run) => Self::Run(Mirror::store(run)),
            model::StreamId::Journal => Self::Journal,
        }
    }

    fn restore(self) -> Result<model::StreamId, Unreadable> {
        Ok(match self {
            Self::Entity(entity) => model::StreamId::Entity(entity.restore()?),
            Self::Run(run) => model::StreamId::Run(run.restore()?),
            Self::Journal => model::StreamId::Journal,
        })
    }
}
