//! What every journal does before it writes: it checks the requests of a durable batch against
//! the heads of their streams and turns their events into records.
//!
//! A request that is refused leaves nothing behind, while the others of the batch continue. A store
//! outside this crate stages its batches here, too, so that links and records are the same in all.

use std::{collections::HashMap, sync::Arc};

use super::{Append, BatchLink, JournalError, Offset, Record, Stored, record::RecordDraft};
use crate::model::{Hash, StreamId};

/// How far a stream goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StagedHead {
    /// The sequence its next event gets.
    pub next_seq: u64,
    /// The newest link of its chain.
    pub hash: Hash,
}

/// How far a journal goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tip {
    /// The offset its next event gets.
    pub next: Offset,
    /// The newest link of the journal's chain; none before the first batch.
    pub link: Option<BatchLink>,
}

/// An [`Append`] whose events are encoded already.
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
        let events = append.events.into_iter().map(RecordDraft::new);
        let events = events.collect::<Result<_, _>>()?;
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

/// A durable batch in the making.
pub struct AppendStage {
    prev: Hash,
    next: Offset,
    heads: HashMap<StreamId, StagedHead>,
    records: Vec<Stored>,
}

impl AppendStage {
    /// A batch to follow `tip`.
    pub fn new(tip: &Tip) -> Self {
        let prev = tip.link.map(|link| link.hash).unwrap_or_default();
        Self {
            prev,
            next: tip.next,
            heads: HashMap::new(),
            records: Vec::new(),
        }
    }

    /// Takes a request into the batch, whole or not at all. `known` gives the head of a stream
    /// before the batch.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] and [`JournalError::TooLong`], and what `known` says; the batch
    /// is then as it was.
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

    /// Takes records that were written before into the batch, byte for byte.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] and [`JournalError::Damaged`] for what does not follow, and what
    /// `known` says; the batch is then as it was.
    pub fn admit_stored(
        &mut self,
        request: Vec<Stored>,
        known: impl Fn(&StreamId) -> Result<StagedHead, JournalError>,
    ) -> Result<(), JournalError> {
        self.whole(request, |stage, stored, undo| {
            stage.restore(stored, &known, undo)
        })
    }

    /// Takes all parts of a request in, or none of them.
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
            return Err(JournalError::Damaged {
                place: stored.place(),
                why,
            });
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
        let before = self.heads.insert(stream.clone(), head);
        undo.push((stream, before));
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

/// What the heads were that a request has changed, in the order of the changes.
type UndoHeads = Vec<(StreamId, Option<StagedHead>)>;

/// A batch to be written, and what is true once it is durable.
pub struct StagedBatch {
    /// Its link.
    pub link: BatchLink,
    /// How far the journal goes then.
    pub tip: Tip,
    /// How far each stream that it appends to goes then.
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
