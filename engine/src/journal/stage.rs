//! What every journal does before it writes: it checks the requests of a durable batch against
//! the heads of their streams and turns their events into records.
//!
//! A request that is refused leaves nothing behind, while the others of the batch go on. A store
//! outside this crate stages its batches here, too, so that links and records are the same in all.

use std::collections::HashMap;

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
        let mut trial = Trial::new(self, known);
        let mut records = Vec::new();
        for draft in request {
            trial.append(draft, &mut records)?;
        }
        let (heads, stored) = trial.done();
        self.keep(heads, stored);
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
        let mut trial = Trial::new(self, known);
        request
            .into_iter()
            .try_for_each(|stored| trial.restore(stored))?;
        let (heads, stored) = trial.done();
        self.keep(heads, stored);
        Ok(())
    }

    fn keep(&mut self, heads: HashMap<StreamId, StagedHead>, stored: Vec<Stored>) {
        self.next = self.next.saturating_add(stored.len() as u64);
        self.heads.extend(heads);
        self.records.extend(stored);
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
            heads: self.heads,
            records: self.records,
        })
    }
}

/// A batch to be written, and what is true once it is durable.
pub struct StagedBatch {
    /// Its link.
    pub link: BatchLink,
    /// How far the journal goes then.
    pub tip: Tip,
    /// How far each stream that it appends to goes then.
    pub heads: HashMap<StreamId, StagedHead>,
    /// Its records, by offset.
    pub records: Vec<Stored>,
}

/// One request, tried out on top of a stage.
struct Trial<'a, F> {
    stage: &'a AppendStage,
    known: F,
    heads: HashMap<StreamId, StagedHead>,
    stored: Vec<Stored>,
}

impl<'a, F: Fn(&StreamId) -> Result<StagedHead, JournalError>> Trial<'a, F> {
    fn new(stage: &'a AppendStage, known: F) -> Self {
        Self {
            stage,
            known,
            heads: HashMap::new(),
            stored: Vec::new(),
        }
    }

    fn head(&self, stream: &StreamId) -> Result<StagedHead, JournalError> {
        match self
            .heads
            .get(stream)
            .or_else(|| self.stage.heads.get(stream))
        {
            Some(head) => Ok(*head),
            None => (self.known)(stream),
        }
    }

    fn next(&self) -> Offset {
        self.stage.next.saturating_add(self.stored.len() as u64)
    }

    fn append(
        &mut self,
        draft: StagedDraft,
        records: &mut Vec<Record>,
    ) -> Result<(), JournalError> {
        let StagedDraft {
            stream,
            expected_seq,
            events,
        } = draft;
        let mut head = self.head(&stream)?;
        expect(&stream, expected_seq, head)?;
        for draft in events {
            let (offset, seq) = (self.next(), head.next_seq);
            let stored = Stored::seal(offset, &stream, seq, head.hash, &draft)?;
            let (event, hash) = (draft.event, stored.hash);
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
            self.stored.push(stored);
        }
        self.heads.insert(stream, head);
        Ok(())
    }

    fn restore(&mut self, stored: Stored) -> Result<(), JournalError> {
        let head = self.head(&stored.stream)?;
        expect(&stored.stream, stored.seq, head)?;
        if stored.offset != self.next() || stored.prev != head.hash {
            let why = format!(
                "it does not follow offset {} and {}",
                self.next(),
                head.hash
            );
            return Err(JournalError::Damaged {
                place: stored.place(),
                why,
            });
        }
        let head = StagedHead {
            next_seq: stored.seq.saturating_add(1),
            hash: stored.hash,
        };
        self.heads.insert(stored.stream.clone(), head);
        self.stored.push(stored);
        Ok(())
    }

    fn done(self) -> (HashMap<StreamId, StagedHead>, Vec<Stored>) {
        (self.heads, self.stored)
    }
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
