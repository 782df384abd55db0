//! A journal that grows while it is audited.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;

use super::*;
use crate::journal::{Append, Journal, JournalError, Offset, Record, States, StreamHead};

/// A journal that grows by one batch whenever its newest link was read, or once after a certain
/// call.
struct GrowingJournal {
    journal: MemoryJournal,
    links: Vec<BatchLink>,
    /// The number of batches so far.
    batches: AtomicUsize,
    /// The number of calls so far.
    calls: AtomicUsize,
    /// The call after which it grows.
    at_call: Option<usize>,
}

impl GrowingJournal {
    fn so_far(&self) -> &[BatchLink] {
        &self.links[..self.batches.load(Ordering::Relaxed)]
    }

    fn end(&self) -> Offset {
        self.so_far().last().map_or(0, |link| link.last + 1)
    }

    fn called(&self) {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        if self.at_call == Some(before) {
            self.grow();
        }
    }

    fn grow(&self) {
        if self.so_far().len() < self.links.len() {
            self.batches.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Journal for GrowingJournal {
    async fn append(&self, _: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        Err(JournalError::Closed)
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let mut page = self.journal.read(stream, from_seq, limit).await?;
        page.retain(|record| record.offset < self.end());
        self.called();
        Ok(page)
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        let mut page = self.journal.read_all(from, limit).await?;
        page.retain(|record| record.offset < self.end());
        Ok(page)
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        let mut heads = BTreeMap::new();
        for record in self.read_stored(0, usize::MAX).await? {
            let head = StreamHead {
                stream: record.stream.clone(),
                next_seq: record.seq + 1,
                hash: record.hash,
            };
            heads.insert(record.stream, head);
        }
        self.called();
        Ok(heads.into_values().collect())
    }

    async fn states(&self, _: Option<Offset>) -> Result<States, JournalError> {
        Ok(States::default())
    }
}

#[async_trait]
impl ChainedJournal for GrowingJournal {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        let mut page = self.journal.read_stored(from, limit).await?;
        page.retain(|record| record.offset < self.end());
        self.called();
        Ok(page)
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        let links = self.so_far().iter().filter(|link| link.first >= from);
        let page: Vec<_> = links.take(limit).copied().collect();
        if page.is_empty() && self.at_call.is_none() {
            self.grow();
        }
        self.called();
        Ok(page)
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        let head = self.so_far().last().copied();
        self.called();
        Ok(head)
    }

    async fn restore(&self, _: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        Err(JournalError::Closed)
    }
}

#[tokio::test]
async fn what_is_appended_while_a_journal_is_audited_is_part_of_its_chain() {
    let blobs = MemoryBlobs::new();
    let journal = sample::journal(&blobs).await;
    let links = journal.read_links(0, usize::MAX).await.unwrap();
    let growing = GrowingJournal {
        journal,
        links,
        batches: AtomicUsize::new(5),
        calls: AtomicUsize::new(0),
        at_call: None,
    };
    let report = audit(&growing, &blobs, None).await;
    assert!(report.is_sound(), "{:#?}", report.violations);
    assert_eq!(report.batches, 18, "all that came meanwhile");
}

/// Runs `what` on a journal that grows after its first call, then on one that grows after its
/// second, and so on.
async fn at_each_call(what: impl AsyncFn(&GrowingJournal, &MemoryBlobs, &str)) {
    let blobs = MemoryBlobs::new();
    let links = sample::journal(&blobs).await;
    let links = links.read_links(0, usize::MAX).await.unwrap();
    for batches in [0, 1, 5, 17] {
        for at_call in 0.. {
            let growing = GrowingJournal {
                journal: sample::journal(&blobs).await,
                links: links.clone(),
                batches: AtomicUsize::new(batches),
                calls: AtomicUsize::new(0),
                at_call: Some(at_call),
            };
            let place = format!("{batches} batches, and one more after call {at_call}");
            what(&growing, &blobs, &place).await;
            if growing.calls.into_inner() <= at_call {
                assert!(at_call > 1, "{at_call} calls");
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_batch_that_is_appended_between_any_two_looks_is_no_violation() {
    at_each_call(async |growing, blobs, place| {
        let report = audit(growing, blobs, None).await;
        assert!(report.is_sound(), "{place}: {:#?}", report.violations);
    })
    .await;
}

#[tokio::test]
async fn a_batch_that_is_appended_between_any_two_looks_does_not_end_an_export() {
    at_each_call(async |growing, blobs, place| {
        let audit = Audit {
            journal: growing,
            blobs,
            journal_id: ID,
        };
        let exported = audit.export(&mut Vec::new(), NOW).await;
        assert!(exported.is_ok(), "{place}: {:?}", exported.err());
    })
    .await;
}
