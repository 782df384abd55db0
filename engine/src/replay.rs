//! Replays a journal with the pure core: could every event follow the events before it?
//!
//! [`Replay`] folds the events of a journal, batch by batch. At every prefix of every stream it
//! checks that the next recorded event is one that [`decide`](crate::model::decide) and
//! [`decide_entity`](crate::model::decide_entity) decided there. It checks what the engine does
//! automatically (starts and skips of steps, starts and ends of runs, cancels by a newer desired
//! state). Requests of users and results of attempts only have to be possible.
//!
//! It reads only records: no clock, no step, no host. It never drives anything.

mod rules;
mod start;
mod state_check;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    audit::{AuditError, BatchPiece},
    journal::{ChainedJournal, Offset, Record, States, Stored, StreamState},
    model::{EntityId, EntityState, Event, RunId, RunResult, RunState, StreamId},
};

use self::{rules::Round, start::Start, state_check::CheckedStates};

/// The first event that the pure core does not allow at its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Its stream.
    pub stream: StreamId,
    /// Its sequence in the stream.
    pub seq: u64,
    /// Its offset in the journal.
    pub offset: Offset,
    /// The events that would have been allowed.
    pub expected: String,
    /// The event that is there.
    pub found: String,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream,
            seq,
            offset,
            expected,
            found,
        } = self;
        write!(
            f,
            "{stream} #{seq} (offset {offset}): expected {expected}, found {found}"
        )
    }
}

/// Counts of what a journal contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// The offset of the base from which the replay began because earlier events are missing; 0 if
    /// it began with the journal.
    pub began: Offset,
    /// Durable batches.
    pub batches: u64,
    /// Entities.
    pub entities: u64,
    /// Entities whose newest desired state has not been reached.
    pub unsettled: u64,
    /// Runs that succeeded.
    pub succeeded: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Runs that a newer desired state superseded.
    pub superseded: u64,
    /// Runs that are open.
    pub open: u64,
}

/// A state in an index or a base that differs from the state of its events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateMismatch {
    /// The stream.
    pub stream: StreamId,
    /// The offset that the states are as of.
    pub as_of: Offset,
    /// Whether it is in a base, not in the index.
    pub in_base: bool,
    /// The difference.
    pub what: String,
}

impl fmt::Display for StateMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            stream,
            as_of,
            in_base,
            what,
        } = self;
        let source = if *in_base { "base" } else { "index" };
        write!(f, "{stream} in the {source} as of offset {as_of}: {what}")
    }
}

/// Why a replay stopped early.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read, or differs from what was written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An event that the pure core does not allow.
    #[error("{0}")]
    Deviation(Deviation),
    /// A state in the index or a base differs from the state of its events.
    #[error("{0}")]
    StateMismatch(StateMismatch),
}

/// Folds the whole journal or, if events are missing, the events after the first base that follows
/// them. With `verify` it also checks every event of the engine against the pure core's decision,
/// and the index and every base against the states of the events.
///
/// # Errors
/// The first deviation, or the first batch that cannot be read. If events are missing and no base
/// covers them, [`ReplayError::Audit`].
pub async fn replay(journal: &dyn ChainedJournal, verify: bool) -> Result<Summary, ReplayError> {
    let start = Start::of(journal).await?;
    let mut held = if verify {
        Some(CheckedStates::by(journal, &start).await?)
    } else {
        None
    };
    let mut replay = Replay::new(verify);
    replay.take_over(&start.states);
    let mut batches = start.batches(journal).await?;
    while let Some(piece) = batches.next().await? {
        let BatchPiece::Batch(link, stored) = piece else {
            continue;
        };
        let records = stored
            .iter()
            .map(Stored::record)
            .collect::<Result<Vec<_>, _>>()
            .map_err(AuditError::from)?;
        replay.batch(&records).map_err(ReplayError::Deviation)?;
        if let Some(held) = &mut held {
            held.batch(&link, &stored).await?;
        }
    }
    held.map_or(Ok(()), CheckedStates::end)?;
    Ok(replay.summary())
}

/// Folds the events and compares the resulting states with those in the journal's index and in each
/// base. The index may have forgotten runs that ended. A stream with an event that cannot be
/// understood is skipped.
///
/// # Errors
/// [`ReplayError::StateMismatch`] for the first state that differs from the state of its events;
/// otherwise as for [`replay`].
pub async fn hold_states(journal: &dyn ChainedJournal) -> Result<(), ReplayError> {
    let start = Start::of(journal).await?;
    let mut held = CheckedStates::by(journal, &start).await?;
    let mut batches = start.batches(journal).await?;
    while let Some(piece) = batches.next().await? {
        if let BatchPiece::Batch(link, stored) = piece {
            held.batch(&link, &stored).await?;
        }
    }
    held.end()
}

/// A replay in progress: the states of every stream so far.
#[derive(Debug, Default)]
pub struct Replay {
    verify: bool,
    entities: BTreeMap<EntityId, EntityState>,
    open: BTreeMap<RunId, RunState>,
    finished: BTreeSet<RunId>,
    counted: Summary,
}

impl Replay {
    /// A replay from the beginning of the journal.
    pub fn new(verify: bool) -> Self {
        Self {
            verify,
            ..Self::default()
        }
    }

    /// Folds one durable batch; its records are in the order of their offsets.
    ///
    /// # Errors
    /// The first event that is not allowed at its place.
    pub fn batch(&mut self, records: &[Record]) -> Result<(), Deviation> {
        let mut round = self.verify.then(|| Round::before(self, records));
        for (at, record) in records.iter().enumerate() {
            if let Some(round) = &mut round {
                let rest = records.get(at.saturating_add(1)..).unwrap_or_default();
                round.check(self, record, rest)?;
            }
            self.fold(record)?;
            if let Some(round) = &mut round {
                round.after(self, record);
            }
        }
        round.map_or(Ok(()), |round| round.close())?;
        self.counted.batches = self.counted.batches.saturating_add(1);
        Ok(())
    }

    /// Continues from the states of a base. Decisions before the base are unknown here.
    fn take_over(&mut self, states: &States) {
        self.counted.began = states.as_of;
        for state in &states.streams {
            match state {
                StreamState::Entity(id, folded) => {
                    let projection = folded.state.as_ref().clone();
                    self.entities.insert(id.clone(), projection);
                }
                StreamState::Run(id, folded) => match folded.state.result() {
                    None => drop(self.open.insert(*id, folded.state.as_ref().clone())),
                    Some(result) => {
                        self.finished.insert(*id);
                        self.count(result);
                    }
                },
                StreamState::Journal { .. } => {}
            }
        }
    }

    fn fold(&mut self, record: &Record) -> Result<(), Deviation> {
        let event = &record.event;
        match &record.stream {
            StreamId::Entity(id) => {
                let state = self.entities.entry(id.clone()).or_default();
                let applied = state.apply(event);
                applied.map_err(|why| deviation(record, &format!("what can follow ({why})")))?;
            }
            StreamId::Run(id) => self.fold_run(*id, event, record)?,
            StreamId::Journal => {}
        }
        self.counted.events = self.counted.events.saturating_add(1);
        Ok(())
    }

    fn fold_run(&mut self, id: RunId, event: &Event, record: &Record) -> Result<(), Deviation> {
        if self.finished.contains(&id) {
            return Err(deviation(record, "nothing more: the run is over"));
        }
        let state = self.open.entry(id).or_default();
        let applied = state.apply(event);
        applied.map_err(|why| deviation(record, &format!("what can follow ({why})")))?;
        if let Some(result) = state.result().cloned() {
            self.open.remove(&id);
            self.finished.insert(id);
            self.count(&result);
        }
        Ok(())
    }

    fn count(&mut self, result: &RunResult) {
        let counted = match result {
            RunResult::Succeeded => &mut self.counted.succeeded,
            RunResult::Failed(_) => &mut self.counted.failed,
            RunResult::Cancelled => &mut self.counted.cancelled,
            RunResult::Superseded => &mut self.counted.superseded,
        };
        *counted = counted.saturating_add(1);
    }

    /// The counts so far.
    pub fn summary(&self) -> Summary {
        let unsettled = self.entities.values().filter(|state| !state.is_settled());
        Summary {
            entities: self.entities.len() as u64,
            unsettled: unsettled.count() as u64,
            open: self.open.len() as u64,
            ..self.counted.clone()
        }
    }
}

fn deviation(record: &Record, expected: &str) -> Deviation {
    Deviation {
        stream: record.stream.clone(),
        seq: record.seq,
        offset: record.offset,
        expected: expected.to_owned(),
        found: rules::event_text(&record.event.kind),
    }
}

#[cfg(test)]
mod tests;
