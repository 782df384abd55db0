//! A journal in memory, for tests and for what need not outlive the process.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;

use super::{
    Append, BatchLink, ChainedJournal, Journal, JournalError, Offset, Record, Stored, StreamHead,
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
    records: Vec<Stored>,
    streams: BTreeMap<StreamId, Vec<usize>>,
    links: Vec<BatchLink>,
}

impl MemoryJournal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }

    /// A panic while the lock was held changed nothing: batches are kept as the last act.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn head(&self, stream: &StreamId) -> Head {
        let places = self.streams.get(stream);
        let newest = places.and_then(|places| self.records.get(*places.last()?));
        newest.map_or_else(Head::default, |stored| Head {
            next_seq: stored.seq.saturating_add(1),
            hash: stored.hash,
        })
    }

    fn stage(&self) -> Stage {
        let next = self.records.len() as u64;
        Stage::new(&Tip {
            next,
            link: self.links.last().copied(),
        })
    }

    fn keep(&mut self, batch: Batch) {
        for stored in batch.records {
            self.streams
                .entry(stored.stream.clone())
                .or_default()
                .push(self.records.len());
            self.records.push(stored);
        }
        self.links.push(batch.link);
    }

    fn page(&self, from: Offset, limit: usize) -> impl Iterator<Item = &Stored> {
        self.records.iter().skip(index(from)).take(limit)
    }
}

fn index(from: u64) -> usize {
    usize::try_from(from).unwrap_or(usize::MAX)
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
        let places = shelf
            .streams
            .get(stream)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let page = places.iter().skip(index(from_seq)).take(limit);
        page.filter_map(|place| shelf.records.get(*place))
            .map(Stored::record)
            .collect()
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        self.shelf().page(from, limit).map(Stored::record).collect()
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        let shelf = self.shelf();
        let heads = shelf.streams.keys().map(|stream| {
            let Head { next_seq, hash } = shelf.head(stream);
            StreamHead {
                stream: stream.clone(),
                next_seq,
                hash,
            }
        });
        Ok(heads.collect())
    }
}

#[async_trait]
impl ChainedJournal for MemoryJournal {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        Ok(self.shelf().page(from, limit).cloned().collect())
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        let shelf = self.shelf();
        let start = shelf.links.partition_point(|link| link.first < from);
        Ok(shelf
            .links
            .iter()
            .skip(start)
            .take(limit)
            .copied()
            .collect())
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        Ok(self.shelf().links.last().copied())
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
