//! What is to be written, and the frame in the making.
//!
//! Callers take their own events in, under the lock of the group: a batch is made, hashes included,
//! while the one before it is written. It follows that one, durable or not: where it does not become
//! so, nothing is written any more.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{frame::FramePart, shared::LogShared};
use crate::{
    group_commit::{CommitRequest, GroupStage},
    journal::{
        BatchLink, JournalError, Missing, Record, Stored, StreamHead,
        stage::{AppendStage, StagedBatch, StagedDraft, StagedHead, Tip},
    },
    model::{Hash, StreamId},
};

/// Something to be written.
pub(in crate::journal) enum LogWriteRequest {
    /// New events.
    Append(Vec<StagedDraft>),
    /// What changes what follows.
    Alone(AloneWrite),
}

/// What is written while nothing else is taken in.
pub(in crate::journal) enum AloneWrite {
    /// Records of another journal; a durable batch of their own.
    Restore(Vec<Stored>),
    /// A range that is missing, the link after it, and how far streams go then.
    Gap {
        missing: Missing,
        link: Hash,
        heads: Vec<StreamHead>,
    },
    /// The newest segment is to be full, if it holds anything.
    Roll,
    /// A part of a base, and how many bytes of it come in all.
    Base {
        part: FramePart,
        bytes: Vec<u8>,
        total: usize,
    },
}

/// What is told about a request.
pub(in crate::journal) enum LogWriteReply {
    /// The new events as they stand in the journal.
    Appended(Vec<Record>),
    /// The link of the batch; none for an empty one.
    Restored(Option<BatchLink>),
    /// It is done.
    Done,
    /// Whether the part was written: it is not where there is no place for it just now.
    Part(bool),
}

impl CommitRequest for LogWriteRequest {
    fn weight(&self) -> usize {
        match self {
            Self::Append(drafts) => drafts.iter().map(StagedDraft::weight).sum(),
            Self::Alone(_) => 0,
        }
    }

    fn is_alone(&self) -> bool {
        matches!(self, Self::Alone(_))
    }
}

pub(super) type LogAnswer = Result<LogWriteReply, JournalError>;

/// The batches whose streams are looked at before those that readers see. The newest may not be durable
/// yet; in the others whoever writes again and again finds his stream without waiting for a reader.
const REMEMBERED: usize = 3;

/// A batch, and what is told about each of its requests; or another request alone.
pub(in crate::journal) struct LogGroup {
    pub(super) batch: Option<StagedBatch>,
    pub(super) answers: Vec<LogAnswer>,
    pub(super) alone: Option<AloneWrite>,
}

/// The group in the making.
pub(in crate::journal) struct LogStage {
    shared: Arc<LogShared>,
    batch: Option<AppendStage>,
    /// How far the journal goes before it; none where that is what readers see.
    tip: Option<Tip>,
    /// How far streams go by the newest batches before it, the last one first.
    before: VecDeque<Arc<HashMap<StreamId, StagedHead>>>,
    answers: Vec<LogAnswer>,
    alone: Option<AloneWrite>,
}

impl LogStage {
    pub(in crate::journal) fn new(shared: Arc<LogShared>) -> Self {
        Self {
            shared,
            batch: None,
            tip: None,
            before: VecDeque::new(),
            answers: Vec::new(),
            alone: None,
        }
    }

    fn append(&mut self, drafts: Vec<StagedDraft>) -> LogAnswer {
        let tip = self.tip.unwrap_or_else(|| self.shared.tip());
        let head = |stream: &StreamId| {
            let mut before = self.before.iter();
            let staged = before.find_map(|heads| heads.get(stream));
            staged.map_or_else(|| self.shared.head(stream), |head| Ok(*head))
        };
        let batch = self.batch.get_or_insert_with(|| AppendStage::new(&tip));
        batch.admit(drafts, head).map(LogWriteReply::Appended)
    }
}

impl GroupStage for LogStage {
    type Request = LogWriteRequest;
    type Group = LogGroup;

    fn admit(&mut self, request: LogWriteRequest) {
        match request {
            LogWriteRequest::Append(drafts) => {
                let answer = self.append(drafts);
                self.answers.push(answer);
            }
            // What follows continues from what is durable then.
            LogWriteRequest::Alone(alone) => {
                self.before.clear();
                (self.tip, self.alone) = (None, Some(alone));
            }
        }
    }

    fn seal(&mut self) -> LogGroup {
        let batch = self.batch.take().and_then(AppendStage::seal);
        if let Some(batch) = &batch {
            self.tip = Some(batch.tip);
            self.before.truncate(REMEMBERED - 1);
            self.before.push_front(Arc::clone(&batch.heads));
        }
        LogGroup {
            batch,
            answers: std::mem::take(&mut self.answers),
            alone: self.alone.take(),
        }
    }
}
