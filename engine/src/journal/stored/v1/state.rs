//! Version 1 of the states of streams.

use std::sync::Arc;

use bincode::{Decode, Encode};

use super::{
    CancelMode, EntityId, Failure, Graph, Hash, Mirror, Outcome, Payload, Precedence, RunId,
    RunResult, StoredName, Unreadable, Wait, WarrantId,
};
use crate::{journal, model};

/// A stream with its state.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for as long as one is encoded or decoded"
)]
#[derive(Encode, Decode)]
pub(in crate::journal::stored) enum StreamState {
    Entity(EntityId, Folded<EntityState>),
    Run(RunId, Folded<RunState>),
    Journal { next_seq: u64, hash: Hash },
}

#[derive(Encode, Decode)]
pub(in crate::journal::stored) struct Folded<T> {
    next_seq: u64,
    hash: Hash,
    first: u64,
    created: u64,
    changed: u64,
    state: T,
}

/// An entity's state without its objects, which [`Objects`] holds.
#[derive(Encode, Decode)]
pub(crate) struct EntityState {
    desired: Option<Desired>,
    active: Option<ActiveRun>,
    last: Option<LastRun>,
    attempted: u64,
    reached: u64,
    reached_by: Option<RunId>,
    intents: Vec<StoredName>,
    state: Option<(StoredName, String)>,
    runs: Vec<RunId>,
    failures: u32,
    next_try: Option<Wait>,
}

impl Mirror<model::EntityState> for EntityState {
    fn store(model: &model::EntityState) -> Self {
        Self {
            desired: Mirror::store(&model.desired),
            active: Mirror::store(&model.active),
            last: Mirror::store(&model.last),
            attempted: model.attempted,
            reached: model.reached,
            reached_by: Mirror::store(&model.reached_by),
            intents: Mirror::store(&model.intents),
            state: Mirror::store(&model.state),
            runs: Mirror::store(&model.runs),
            failures: model.failures,
            next_try: Mirror::store(&model.next_try),
        }
    }

    fn restore(self) -> Result<model::EntityState, Unreadable> {
        Ok(model::EntityState {
            desired: self.desired.restore()?,
            active: self.active.restore()?,
            last: self.last.restore()?,
            attempted: self.attempted,
            reached: self.reached,
            reached_by: self.reached_by.restore()?,
            intents: self.intents.restore()?,
            state: self.state.restore()?,
            runs: self.runs.restore()?,
            failures: self.failures,
            next_try: self.next_try.restore()?,
            objects: model::Objects::default(),
        })
    }
}

mirror!(
    #[derive(Encode, Decode)]
    struct Objects {
        made: Vec<(String, String)>,
        in_use: Option<ObjectInUse>,
        unfinished: Vec<(String, StoredName)>,
        warrants: Vec<(WarrantId, Warrant)>,
        begun: Vec<String>,
        newest: Option<String>,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct ObjectInUse {
        object: String,
        generation: u64,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct Warrant {
        object: String,
        act: StoredName,
        spent: Option<Spender>,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct Spender {
        run: RunId,
        node: StoredName,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct Desired {
        generation: u64,
        workflow: StoredName,
        precedence: Precedence,
        desired: Payload,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct ActiveRun {
        run: RunId,
        workflow: StoredName,
        generation: u64,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct LastRun {
        run: RunId,
        workflow: StoredName,
        generation: u64,
        result: RunResult,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct RunState {
        phase: RunPhase,
        entity: Option<EntityId>,
        generation: u64,
        graph: Option<Graph>,
        nodes: Vec<(StoredName, NodeState)>,
        cancel: Option<CancelMode>,
    }
);

mirror!(#[derive(Encode, Decode)] enum NodeState {
    Waiting {}
    Running { attempt: u32, }
    Ready { attempt: u32, }
    Delayed { attempt: u32, failure: Box<Failure>, retry: Wait, }
    Blocked { attempt: u32, failure: Box<Failure>, recheck: Option<Wait>, }
    Succeeded { attempt: u32, outcome: Outcome, output: Payload, at: u64, }
    Failed { attempt: u32, failure: Box<Failure>, }
    Skipped { attempt: u32, }
});

/// The phase of a run.
#[derive(Encode, Decode)]
pub(crate) enum RunPhase {
    New,
    Active,
    Paused,
    Finished(RunResult),
}

impl Mirror<model::RunPhase> for RunPhase {
    fn store(model: &model::RunPhase) -> Self {
        match model {
            model::RunPhase::New => Self::New,
            model::RunPhase::Active => Self::Active,
            model::RunPhase::Paused => Self::Paused,
            model::RunPhase::Finished(result) => Self::Finished(Mirror::store(result)),
        }
    }

    fn restore(self) -> Result<model::RunPhase, Unreadable> {
        Ok(match self {
            Self::New => model::RunPhase::New,
            Self::Active => model::RunPhase::Active,
            Self::Paused => model::RunPhase::Paused,
            Self::Finished(result) => model::RunPhase::Finished(result.restore()?),
        })
    }
}

impl Mirror<Arc<model::Graph>> for Graph {
    fn store(model: &Arc<model::Graph>) -> Self {
        Mirror::<model::Graph>::store(model)
    }

    fn restore(self) -> Result<Arc<model::Graph>, Unreadable> {
        Mirror::<model::Graph>::restore(self).map(Arc::new)
    }
}

impl<M, S: Mirror<M>> Mirror<journal::Folded<M>> for Folded<S> {
    fn store(model: &journal::Folded<M>) -> Self {
        Self {
            next_seq: model.next_seq,
            hash: Mirror::store(&model.hash),
            first: model.first,
            created: Mirror::store(&model.created),
            changed: Mirror::store(&model.changed),
            state: S::store(&model.state),
        }
    }

    fn restore(self) -> Result<journal::Folded<M>, Unreadable> {
        Ok(journal::Folded {
            next_seq: self.next_seq,
            hash: self.hash.restore()?,
            first: self.first,
            created: self.created.restore()?,
            changed: self.changed.restore()?,
            state: Arc::new(self.state.restore()?),
        })
    }
}

impl Mirror<journal::StreamState> for StreamState {
    fn store(model: &journal::StreamState) -> Self {
        match model {
            journal::StreamState::Entity(id, folded) => {
                Self::Entity(Mirror::store(id), Mirror::store(folded))
            }
            journal::StreamState::Run(id, folded) => {
                Self::Run(Mirror::store(id), Mirror::store(folded))
            }
            journal::StreamState::Journal { next_seq, hash } => Self::Journal {
                next_seq: *next_seq,
                hash: Mirror::store(hash),
            },
        }
    }

    fn restore(self) -> Result<journal::StreamState, Unreadable> {
        Ok(match self {
            Self::Entity(id, folded) => {
                journal::StreamState::Entity(id.restore()?, folded.restore()?)
            }
            Self::Run(id, folded) => journal::StreamState::Run(id.restore()?, folded.restore()?),
            Self::Journal { next_seq, hash } => journal::StreamState::Journal {
                next_seq,
                hash: hash.restore()?,
            },
        })
    }
}
