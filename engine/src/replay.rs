//! Holds a journal against the pure core: could every event follow what came before it?
//!
//! [`Replay`] folds the events of a journal, batch by batch, and checks at every prefix of every
//! stream that what was recorded next is what [`decide`](crate::model::decide) and
//! [`decide_entity`](crate::model::decide_entity) called for there.
//! It judges what the engine makes by itself (starts and skips of steps, ends and openings of
//! runs, cancels by a newer wish); what people ask for and how attempts end only has to fit.
//!
//! It reads records and nothing else: no clock, no step, no host. It never drives anything.

mod rules;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use crate::{
    audit::{AuditError, Batches},
    journal::{ChainedJournal, Offset, Record, Rest, RunEnd, Seal, Stored},
    model::{EntityId, EntityState, Event, RunId, RunState, StreamId},
};

use self::rules::Round;

/// What is read at once.
const PAGE: usize = 1_000;

/// The first event that the pure core does not allow where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deviation {
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream.
    pub seq: u64,
    /// Its place in the journal.
    pub offset: Offset,
    /// What could have stood there.
    pub expected: String,
    /// What stands there.
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

/// What a journal tells, counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Events.
    pub events: u64,
    /// Events that are archived and were not read.
    pub archived: u64,
    /// Durable batches.
    pub batches: u64,
    /// Entities.
    pub entities: u64,
    /// Entities whose newest wish is not reached.
    pub unsettled: u64,
    /// Runs that ended, by how.
    pub succeeded: u64,
    /// Runs that failed.
    pub failed: u64,
    /// Runs that were cancelled.
    pub cancelled: u64,
    /// Runs that a newer wish took the place of.
    pub superseded: u64,
    /// Runs that are open.
    pub open: u64,
}

/// Why a replay ended before the journal did.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal cannot be read, or is not what was written.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// An event that the pure core does not allow.
    #[error("{0}")]
    Deviation(Deviation),
}

/// Folds the whole journal; with `verify` it also holds every event the engine made against what
/// was decided.
///
/// # Errors
/// The first deviation, or the first batch that cannot be read.
pub async fn replay(journal: &dyn ChainedJournal, verify: bool) -> Result<Summary, ReplayError> {
    let mut replay = Replay::new(verify);
    replay.resume(journal).await?;
    let mut batches = Batches::of(journal).await?;
    while let Some((_, stored)) = batches.next().await? {
        let records: Result<Vec<_>, _> = stored.iter().map(Stored::record).collect();
        let records = records.map_err(AuditError::from)?;
        replay.batch(&records).map_err(ReplayError::Deviation)?;
    }
    Ok(replay.summary())
}

/// Every stream as far as it was folded.
#[derive(Debug, Default)]
pub struct Replay {
    verify: bool,
    entities: BTreeMap<EntityId, EntityState>,
    open: BTreeMap<RunId, RunState>,
    finished: BTreeSet<RunId>,
    counted: Summary,
}

impl Replay {
    /// A replay from the journal's beginning on.
    pub fn new(verify: bool) -> Self {
        Self {
            verify,
            ..Self::default()
        }
    }

    /// Folds one durable batch, in the order of its offsets.
    ///
    /// # Errors
    /// The first event that cannot stand where it does.
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

    /// Takes over what archived events came to, and folds those below the horizon that were kept.
    /// What was decided there was held against the whole journal before it was archived.
    async fn resume(&mut self, journal: &dyn ChainedJournal) -> Result<(), ReplayError> {
        let Some(horizon) = journal.horizon().await.map_err(AuditError::from)? else {
            return Ok(());
        };
        let mut after = None;
        loop {
            let page = journal.seals(after.as_ref(), PAGE).await;
            let page = page.map_err(AuditError::from)?;
            let Some(last) = page.last() else { break };
            after = Some(last.stream.clone());
            page.into_iter().for_each(|seal| self.take_over(seal));
        }
        self.fold_kept(journal, horizon.offset).await
    }

    fn take_over(&mut self, seal: Seal) {
        match (seal.stream, seal.rest) {
            (_, Rest::Kept) => return,
            (StreamId::Entity(id), Rest::Entity(snapshot)) => {
                self.entities.insert(id, snapshot.state);
            }
            (StreamId::Run(id), Rest::Run(end)) => {
                self.finished.insert(id);
                self.count(end);
            }
            _ => {}
        }
        self.counted.archived = self.counted.archived.saturating_add(seal.next_seq);
    }

    async fn fold_kept(
        &mut self,
        journal: &dyn ChainedJournal,
        end: Offset,
    ) -> Result<(), ReplayError> {
        let mut from = 0;
        while from < end {
            let page = journal.read_all(from, PAGE).await;
            let page = page.map_err(AuditError::from)?;
            for record in page.iter().take_while(|record| record.offset < end) {
                self.fold(record).map_err(ReplayError::Deviation)?;
            }
            from = page
                .last()
                .map_or(end, |last| last.offset.saturating_add(1));
        }
        Ok(())
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
            self.count(RunEnd::of(&result));
        }
        Ok(())
    }

    fn count(&mut self, end: RunEnd) {
        let counted = match end {
            RunEnd::Succeeded => &mut self.counted.succeeded,
            RunEnd::Failed => &mut self.counted.failed,
            RunEnd::Cancelled => &mut self.counted.cancelled,
            RunEnd::Superseded => &mut self.counted.superseded,
        };
        *counted = counted.saturating_add(1);
    }

    /// What was folded so far.
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
        found: rules::told(&record.event.kind),
    }
}

#[cfg(test)]
mod tests;
