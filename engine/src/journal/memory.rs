//! A journal in memory, for tests and for data that need not outlive the process.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Append, BatchLink, ChainedJournal, Entry, Journal, JournalError, Missing, Offset, Record,
    States, Stored, StreamHead, base_hash,
    stage::{AppendStage, StagedBatch, StagedDraft, StagedHead, Tip},
};
use crate::model::{Hash, StreamId};

#[cfg(test)]
mod planted;

/// A journal that lives as long as the process: the same checks, limits, bytes and links as on
/// disk, without durability. It has no index; its states come from its bases.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<MemoryState>,
}

#[derive(Debug, Default)]
struct MemoryState {
    records: BTreeMap<Offset, Stored>,
    streams: BTreeMap<StreamId, BTreeMap<u64, Offset>>,
    heads: BTreeMap<StreamId, StagedHead>,
    links: BTreeMap<Offset, BatchLink>,
    newest: Option<BatchLink>,
    bases: BTreeMap<Offset, States>,
    missing: Vec<Missing>,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// Ignores poisoning: a panic while the lock was held changed nothing, because a batch is stored
    /// as the last action.
    fn state(&self) -> MutexGuard<'_, MemoryState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryState {
    fn head(&self, stream: &StreamId) -> StagedHead {
        self.heads.get(stream).copied().unwrap_or_default()
    }

    fn next(&self) -> Offset {
        self.newest.map_or(0, |link| link.last.saturating_add(1))
    }

    fn stage(&self) -> AppendStage {
        AppendStage::new(&Tip {
            next: self.next(),
            link: self.newest,
        })
    }

    fn retain(&mut self, batch: StagedBatch) {
        self.links.insert(batch.link.first, batch.link);
        self.newest = Some(batch.link);
        self.heads.extend(Arc::unwrap_or_clone(batch.heads));
        for stored in batch.records {
            let places = self.streams.entry(stored.stream.clone()).or_default();
            places.insert(stored.seq, stored.offset);
            self.records.insert(stored.offset, stored);
        }
    }

    fn page(&self, from: Offset, limit: usize) -> impl Iterator<Item = &Stored> {
        self.records
            .range(from..)
            .map(|(_, stored)| stored)
            .take(limit)
    }

    /// The newest base as of `at` or before.
    fn base(&self, at: Offset) -> States {
        let base = self.bases.range(..=at).next_back();
        base.map_or_else(States::default, |(_, states)| states.clone())
    }

    /// Checks that a missing range may begin at the end of the journal, with streams continuing from
    /// `heads`.
    fn check_missing(&self, missing: &Missing, heads: &[StreamHead]) -> Result<(), JournalError> {
        let fits = missing.from == self.next() && missing.from < missing.to;
        let back = |head: &&StreamHead| head.next_seq < self.head(&head.stream).next_seq;
        let why = match heads.iter().find(back) {
            Some(head) => format!("{} would go back", head.stream),
            None if fits => return Ok(()),
            None => format!("the journal ends before offset {}", self.next()),
        };
        let place = format!("the missing range from {} to {}", missing.from, missing.to);
        Err(JournalError::Damaged { place, why })
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let request = StagedDraft::all(batch)?;
        let mut state = self.state();
        let mut stage = state.stage();
        let records = stage.admit(request, |stream| Ok(state.head(stream)))?;
        if let Some(sealed) = stage.seal() {
            state.retain(sealed);
        }
        Ok(records)
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let state = self.state();
        let places = state.streams.get(stream).into_iter();
        let page = places.flat_map(|places| places.range(from_seq..));
        page.take(limit)
            .filter_map(|(_, offset)| state.records.get(offset))
            .map(Stored::record)
            .collect()
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        self.state().page(from, limit).map(Stored::record).collect()
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        let state = self.state();
        let heads = state.heads.iter().map(|(stream, head)| StreamHead {
            stream: stream.clone(),
            next_seq: head.next_seq,
            hash: head.hash,
        });
        Ok(heads.collect())
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.state().page(from, limit).map(Entry::of).collect()
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        let state = self.state();
        let states = state.base(at.unwrap_or(Offset::MAX));
        let gap = |missing: &&Missing| at.is_none() && missing.to > states.as_of;
        match state.missing.iter().find(gap) {
            None => Ok(states),
            Some(Missing { from, to, .. }) => Err(JournalError::Damaged {
                place: format!("offset {from}"),
                why: format!("the events before offset {to} are missing, and no base covers them"),
            }),
        }
    }

    async fn write_base(&self, states: States) -> Result<Option<Hash>, JournalError> {
        let hash = base_hash(&states)?;
        self.state().bases.insert(states.as_of, states);
        Ok(Some(hash))
    }

    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        Ok(self.state().missing.clone())
    }
}

#[async_trait]
impl ChainedJournal for MemoryJournal {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        Ok(self.state().page(from, limit).cloned().collect())
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        let state = self.state();
        let page = state.links.range(from..).take(limit);
        Ok(page.map(|(_, link)| *link).collect())
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        Ok(self.state().newest)
    }

    async fn restore(&self, batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        let request = batch
            .into_iter()
            .map(Stored::parse)
            .collect::<Result<_, _>>()?;
        let mut state = self.state();
        let mut stage = state.stage();
        stage.admit_stored(request, |stream| Ok(state.head(stream)))?;
        let sealed = stage.seal();
        let link = sealed.as_ref().map(|sealed| sealed.link);
        sealed.into_iter().for_each(|sealed| state.retain(sealed));
        Ok(link)
    }

    async fn restore_missing(
        &self,
        missing: Missing,
        link: Hash,
        heads: Vec<StreamHead>,
    ) -> Result<(), JournalError> {
        let mut state = self.state();
        state.check_missing(&missing, &heads)?;
        let last = missing.to.saturating_sub(1);
        // Only the end and the link of the last batch in the range are known.
        state.newest = Some(BatchLink {
            first: last,
            last,
            prev: Hash::default(),
            hash: link,
        });
        state.heads.extend(heads.into_iter().map(|head| {
            let StreamHead {
                stream,
                next_seq,
                hash,
            } = head;
            (stream, StagedHead { next_seq, hash })
        }));
        state.missing.push(missing);
        Ok(())
    }
}
