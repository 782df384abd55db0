//! Version 1 of what stands in the place of archived events.

use bincode::{Decode, Encode};

use super::{Hash, Mirror, Payload, Precedence, RunId, RunResult, Unreadable, Wait};
use crate::{
    journal::{self, Rest},
    model,
};

#[derive(Encode, Decode)]
pub(in crate::journal::stored) struct Horizon {
    pub(in crate::journal::stored) offset: u64,
    pub(in crate::journal::stored) first: u64,
    pub(in crate::journal::stored) last: u64,
    pub(in crate::journal::stored) prev: Hash,
    pub(in crate::journal::stored) hash: Hash,
    pub(in crate::journal::stored) archives: u64,
    pub(in crate::journal::stored) sealed: Hash,
}

#[derive(Encode, Decode)]
pub(in crate::journal::stored) struct Archive {
    pub(in crate::journal::stored) first: u64,
    pub(in crate::journal::stored) end: u64,
    pub(in crate::journal::stored) link: Hash,
    pub(in crate::journal::stored) sha256: Hash,
    pub(in crate::journal::stored) len: u64,
}

#[derive(Encode, Decode)]
pub(in crate::journal::stored) struct Seal {
    next_seq: u64,
    hash: Hash,
    first: u64,
    last: u64,
    state: State,
}

#[derive(Encode, Decode)]
enum State {
    Kept,
    Journal,
    Succeeded,
    Failed,
    Cancelled,
    Superseded,
    Entity(Box<Snapshot>),
}

#[derive(Encode, Decode)]
struct Snapshot {
    created: u64,
    changed: u64,
    state: EntityState,
}

mirror!(
    #[derive(Encode, Decode)]
    struct EntityState {
        desired: Option<Desired>,
        active: Option<ActiveRun>,
        last: Option<LastRun>,
        attempted: u64,
        reached: u64,
        reached_by: Option<RunId>,
        intents: Vec<String>,
        state: Option<(String, String)>,
        runs: Vec<RunId>,
        failures: u32,
        next_try: Option<Wait>,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct Desired {
        generation: u64,
        workflow: String,
        precedence: Precedence,
        desired: Payload,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct ActiveRun {
        run: RunId,
        workflow: String,
        generation: u64,
    }
);

mirror!(
    #[derive(Encode, Decode)]
    struct LastRun {
        run: RunId,
        workflow: String,
        generation: u64,
        result: RunResult,
    }
);

impl Seal {
    pub(in crate::journal::stored) fn store(seal: &journal::Seal) -> Self {
        Self {
            next_seq: seal.next_seq,
            hash: seal.hash.0,
            first: seal.first,
            last: seal.last,
            state: State::store(&seal.rest),
        }
    }

    pub(in crate::journal::stored) fn restore(
        self,
        stream: model::StreamId,
    ) -> Result<journal::Seal, Unreadable> {
        Ok(journal::Seal {
            stream,
            next_seq: self.next_seq,
            hash: model::Hash(self.hash),
            first: self.first,
            last: self.last,
            rest: self.state.restore()?,
        })
    }
}

impl State {
    fn store(rest: &Rest) -> Self {
        match rest {
            Rest::Kept => Self::Kept,
            Rest::Journal => Self::Journal,
            Rest::Run(journal::RunEnd::Succeeded) => Self::Succeeded,
            Rest::Run(journal::RunEnd::Failed) => Self::Failed,
            Rest::Run(journal::RunEnd::Cancelled) => Self::Cancelled,
            Rest::Run(journal::RunEnd::Superseded) => Self::Superseded,
            Rest::Entity(snapshot) => Self::Entity(Box::new(Snapshot {
                created: snapshot.created.0,
                changed: snapshot.changed.0,
                state: Mirror::store(&snapshot.state),
            })),
        }
    }

    fn restore(self) -> Result<Rest, Unreadable> {
        Ok(match self {
            Self::Kept => Rest::Kept,
            Self::Journal => Rest::Journal,
            Self::Succeeded => Rest::Run(journal::RunEnd::Succeeded),
            Self::Failed => Rest::Run(journal::RunEnd::Failed),
            Self::Cancelled => Rest::Run(journal::RunEnd::Cancelled),
            Self::Superseded => Rest::Run(journal::RunEnd::Superseded),
            Self::Entity(snapshot) => Rest::Entity(Box::new(journal::Snapshot {
                created: model::Timestamp(snapshot.created),
                changed: model::Timestamp(snapshot.changed),
                state: snapshot.state.restore()?,
            })),
        })
    }
}
