//! Staging of a durable batch, which every journal does before it writes: checks requests against
//! the heads of their streams and turns their events into records.
//!
//! A refused request leaves nothing behind, and the other requests of the batch are still written.
//! Stores outside this crate stage their batches here too, so that links and records are the same
//! everywhere.

use std::{collections::HashMap, sync::Arc};

use super::{
    Append, BatchLink, JournalError, Offset, Record, RecordDamage, Stored, record::RecordDraft,
};
use crate::model::{Hash, StreamId};

/// The head of a stream, before or within a staged batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StagedHead {
    /// The sequence its next event gets.
    pub next_seq: u64,
    /// The newest link of its chain.
    pub hash: Hash,
}

/// The end of a journal.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tip {
    /// The offset its next event gets.
    pub next: Offset,
    /// The newest link of the journal's chain; none before the first batch.
    pub link: Option<BatchLink>,
}

/// An [`Append`] whose events are already encoded.
pub struct StagedDraft {
    stream: StreamId,
    expected_seq: u64,
    events: Vec<RecordDraft>,
}

impl StagedDraft {
    /// Encodes the events of a request.
    ///
    /// # Errors
    /// [`JournalError::Storage`] for an event that cannot be encoded.
    pub fn all(batch: Vec<Append>) -> Result<Vec<Self>, JournalError> {
        batch.into_iter().map(Self::new).collect()
    }

    fn new(append: Append) -> Result<Self, JournalError> {
        let drafts = append.events.into_iter().map(RecordDraft::new);
        let events = drafts.collect::<Result<_, _>>()?;
        Ok(Self {
            stream: append.stream,
            expected_seq: append.expected_seq,
            events,
        })
    }

    /// About how many bytes it will take.
    pub fn weight(&self) -> usize {
        self.events
            .iter()
            .map(|event| event.len().saturating_add(128))
            .sum()
    }
}

/// A durable batch that is being built.
pub struct AppendStage {
    prev: Hash,
    next: Offset,
    heads: HashMap<StreamId, StagedHead>,
    records: Vec<Stored>,
}

impl AppendStage {
    /// An empty batch that follows `tip`.
    pub fn new(tip: &Tip) -> Self {
        let prev = tip.link.map(|link| link.hash).unwrap_or_default();
        Self {
            prev,
            next: tip.next,
            heads: HashMap::new(),
            records: Vec::new(),
        }
    }

    /// Adds a request to the batch, whole or not at all. `known` returns the head of a stream
    /// before the batch.
    ///
    /// # Errors
    /// [`JournalError::Conflict`], [`JournalError::TooLong`] and the errors of `known`; the batch
    /// is then unchanged.
    pub fn admit(
        &mut self,
        request: Vec<StagedDraft>,
        known: impl Fn(&StreamId) -> Result<StagedHead, JournalError>,
    ) -> Result<Vec<Record>, JournalError> {
        let count = request.iter().map(|draft| draft.events.len()).sum();
        let mut records = Vec::with_capacity(count);
        self.whole(request, |stage, draft, undo| {
            stage.append(draft, &known, undo, &mut records)
        })?;
        Ok(records)
    }

    /// Adds records of another journal to the batch, byte for byte.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] and [`JournalError::Damaged`] for a record that does not follow
    /// the previous one, and the errors of `known`; the batch is then unchanged.
    pub fn admit_stored(
        &mut self,
        request: Vec<Stored>,
        known: impl Fn(&StreamId) -> Result<StagedHead, JournalError>,
    ) -> Result<(), JournalError> {
        self.whole(request, |stage, stored, undo| {
            stage.restore(stored, &known, undo)
        })
    }

    /// Adds all parts of a request, or none of them.
    fn whole<T>(
        &mut self,
        request: Vec<T>,
        mut take: impl FnMut(&mut Self, T, &mut UndoHeads) -> Result<(), JournalError>,
    ) -> Result<(), JournalError> {
        let (records, next) = (self.records.len(), self.next);
        let mut undo = UndoHeads::with_capacity(request.len());
        for part in request {
            if let Err(refused) = take(self, part, &mut undo) {
                self.records.truncate(records);
                self.next = next;
                for (stream, head) in undo.into_iter().rev() {
                    match head {
                        Some(head) => self.heads.insert(stream, head),
                        None => self.heads.remove(&stream),
                    };
                }
                return Err(refused);
            }
        }
        Ok(())
    }

    fn append(
        &mut self,
        draft: StagedDraft,
        known: impl Fn(&StreamId) -> Result<StagedHead, JournalError>,
        undo: &mut UndoHeads,
        records: &mut Vec<Record>,
    ) -> Result<(), JournalError> {
        let StagedDraft {
            stream,
            expected_seq,
            events,
        } = draft;
        let mut head = self.head(&stream, known)?;
        expect(&stream, expected_seq, head)?;
        for event in events {
            let (offset, seq) = (self.next, head.next_seq);
            let stored = Stored::seal(offset, &stream, seq, head.hash, &event)?;
            let (event, hash) = (event.event, stored.hash);
            head = StagedHead {
                next_seq: seq.saturating_add(1),
                hash,
            };
            records.push(Record {
                offset,
                stream: stream.clone(),
                seq,
                event,
                hash,
            });
            self.push(stored);
        }
        self.set_head(stream, head, undo);
        Ok(())
    }

    fn restore(
        &mut self,
        stored: Stored,
        known: impl Fn(&StreamId) -> Result<StagedHead, JournalError>,
        undo: &mut UndoHeads,
    ) -> Result<(), JournalError> {
        let head = self.head(&stored.stream, known)?;
        expect(&stored.stream, stored.seq, head)?;
        if stored.offset != self.next || stored.prev != head.hash {
            let why = format!("it does not follow offset {} and {}", self.next, head.hash);
            return Err(RecordDamage::altered(stored.place(), why));
        }
        let next_head = StagedHead {
            next_seq: stored.seq.saturating_add(1),
            hash: stored.hash,
        };
        self.set_head(stored.stream.clone(), next_head, undo);
        self.push(stored);
        Ok(())
    }

    fn head(
        &self,
        stream: &StreamId,
        known: impl Fn(&StreamId) -> Result<StagedHead, JournalError>,
    ) -> Result<StagedHead, JournalError> {
        self.heads
            .get(stream)
            .map_or_else(|| known(stream), |head| Ok(*head))
    }

    fn set_head(&mut self, stream: StreamId, head: StagedHead, undo: &mut UndoHeads) {
        let previous = self.heads.insert(stream.clone(), head);
        undo.push((stream, previous));
    }

    fn push(&mut self, stored: Stored) {
        self.next = self.next.saturating_add(1);
        self.records.push(stored);
    }

    /// The finished batch; none when it holds no record.
    pub fn seal(self) -> Option<StagedBatch> {
        let (first, last) = (self.records.first()?.offset, self.records.last()?.offset);
        let hashes = self.records.iter().map(|record| &record.hash);
        let link = BatchLink::new(self.prev, first, last, hashes);
        let tip = Tip {
            next: self.next,
            link: Some(link),
        };
        Some(StagedBatch {
            link,
            tip,
            heads: Arc::new(self.heads),
            records: self.records,
        })
    }
}

/// The previous heads of the streams that a request has changed, in the order of the changes.
type UndoHeads = Vec<(StreamId, Option<StagedHead>)>;

/// A batch to be written, and the ends of the journal and its streams once it is durable.
pub struct StagedBatch {
    /// Its link.
    pub link: BatchLink,
    /// The end of the journal after it.
    pub tip: Tip,
    /// The head of each stream that it appends to, after it.
    pub heads: Arc<HashMap<StreamId, StagedHead>>,
    /// Its records, by offset.
    pub records: Vec<Stored>,
}

fn expect(stream: &StreamId, expected: u64, head: StagedHead) -> Result<(), JournalError> {
    if expected == head.next_seq {
        return Ok(());
    }
    Err(JournalError::Conflict {
        stream: stream.clone(),
        expected,
        actual: head.next_seq,
    })
}
