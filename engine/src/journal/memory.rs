//! A journal in memory, for tests and for what need not outlive the process.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Append, BatchLink, ChainedJournal, Horizon, Journal, JournalError, Offset, Record, Seal,
    Stored, StreamHead,
    stage::{Batch, Draft, Head, Stage, Tip},
};
use crate::model::StreamId;

/// A journal that lives as long as the process: the same checks, limits, bytes and links as on
/// disk, and no durability.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    records: BTreeMap<Offset, Stored>,
    streams: BTreeMap<StreamId, BTreeMap<u64, Offset>>,
    links: BTreeMap<Offset, BatchLink>,
    horizon: Option<Horizon>,
    /// By the text of their streams.
    seals: BTreeMap<String, Seal>,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// A journal with a past that is archived: `kept` are the records that are still there of it.
    #[cfg(test)]
    pub(crate) fn compacted(horizon: Horizon, seals: Vec<Seal>, kept: Vec<Stored>) -> Self {
        let mut shelf = Shelf {
            horizon: Some(horizon),
            ..Shelf::default()
        };
        for seal in seals {
            shelf.seals.insert(seal.stream.to_string(), seal);
        }
        kept.into_iter().for_each(|stored| shelf.put(stored));
        Self {
            shelf: Mutex::new(shelf),
        }
    }

    /// A panic while the lock was held changed nothing: batches are kept as the last act.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn head(&self, stream: &StreamId) -> Head {
        let places = self.streams.get(stream);
        let newest = places.and_then(|places| self.records.get(places.values().next_back()?));
        let sealed = || {
            let seal = self.seals.get(&stream.to_string());
            seal.map_or_else(Head::default, |seal| Head {
                next_seq: seal.next_seq,
                hash: seal.hash,
            })
        };
        newest.map_or_else(sealed, |stored| Head {
            next_seq: stored.seq.saturating_add(1),
            hash: stored.hash,
        })
    }

    fn link(&self) -> Option<BatchLink> {
        let newest = self.links.values().next_back().copied();
        newest.or(self.horizon.as_ref().map(|horizon| horizon.link))
    }

    fn stage(&self) -> Stage {
        let link = self.link();
        Stage::new(&Tip {
            next: link.map_or(0, |link| link.last.saturating_add(1)),
            link,
        })
    }

    fn put(&mut self, stored: Stored) {
        let places = self.streams.entry(stored.stream.clone()).or_default();
        places.insert(stored.seq, stored.offset);
        self.records.insert(stored.offset, stored);
    }

    fn keep(&mut self, batch: Batch) {
        self.links.insert(batch.link.first, batch.link);
        batch
            .records
            .into_iter()
            .for_each(|stored| self.put(stored));
    }

    fn page(&self, from: Offset, limit: usize) -> impl Iterator<Item = &Stored> {
        self.records
            .range(from..)
            .map(|(_, stored)| stored)
            .take(limit)
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let request = Draft::all(batch)?;
        let mut shelf = self.shelf();
        let mut stage = shelf.stage();
        let records = stage.admit(request, |stream| Ok(shelf.head(stream)))?;
        if let Some(batch) = stage.seal() {
            shelf.keep(batch);
        }
        Ok(records)
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let shelf = self.shelf();
        let places = shelf.streams.get(stream).into_iter();
        let page = places.flat_map(|places| places.range(from_seq..));
        page.take(limit)
            .filter_map(|(_, offset)| shelf.records.get(offset))
            .map(Stored::record)
            .collect()
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        self.shelf().page(from, limit).map(Stored::record).collect()
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        let shelf = self.shelf();
        let sealed = shelf.seals.values().map(|seal| &seal.stream);
        let all: BTreeSet<_> = shelf.streams.keys().chain(sealed).collect();
        let heads = all.into_iter().map(|stream| {
            let Head { next_seq, hash } = shelf.head(stream);
            StreamHead {
                stream: stream.clone(),
                next_seq,
                hash,
            }
        });
        Ok(heads.collect())
    }

    async fn horizon(&self) -> Result<Option<Horizon>, JournalError> {
        Ok(self.shelf().horizon.clone())
    }

    async fn seal(&self, stream: &StreamId) -> Result<Option<Seal>, JournalError> {
        Ok(self.shelf().seals.get(&stream.to_string()).cloned())
    }

    async fn seals(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<Seal>, JournalError> {
        let shelf = self.shelf();
        let after = after.map(ToString::to_string);
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let page = shelf.seals.range((start, Bound::Unbounded)).take(limit);
        Ok(page.map(|(_, seal)| seal.clone()).collect())
    }
}

#[async_trait]
impl ChainedJournal for MemoryJournal {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        Ok(self.shelf().page(from, limit).cloned().collect())
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        let shelf = self.shelf();
        let page = shelf.links.range(from..).take(limit);
        Ok(page.map(|(_, link)| *link).collect())
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        Ok(self.shelf().link())
    }

    async fn restore(&self, batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        let request = batch
            .into_iter()
            .map(Stored::parse)
            .collect::<Result<_, _>>()?;
        let mut shelf = self.shelf();
        let mut stage = shelf.stage();
        stage.admit_stored(request, |stream| Ok(shelf.head(stream)))?;
        let batch = stage.seal();
        let link = batch.as_ref().map(|batch| batch.link);
        batch.into_iter().for_each(|batch| shelf.keep(batch));
        Ok(link)
    }
}
