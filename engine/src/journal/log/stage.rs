//! Write requests of the log, and the open group in which a batch is built.
//!
//! Callers add their own events, under the lock of the open group. So a batch is built, including its
//! hashes, while the previous one is being written. It follows the previous batch before that is
//! durable: if that batch does not become durable, nothing more is written.

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

/// A request to write to the log.
pub(in crate::journal) enum LogWriteRequest {
    /// New events.
    Append(Vec<StagedDraft>),
    /// A request that changes what later requests follow.
    Alone(AloneWrite),
}

/// A request during which no other request is admitted.
pub(in crate::journal) enum AloneWrite {
    /// Records of another journal, as one durable batch.
    Restore(Vec<Stored>),
    /// A missing range, the link after it, and the heads of the streams after it.
    Gap {
        missing: Missing,
        link: Hash,
        heads: Vec<StreamHead>,
    },
    /// Starts a new segment, if the newest one has events.
    Roll,
    /// A part of a base, and the number of bytes of all its parts.
    Base {
        part: FramePart,
        bytes: Vec<u8>,
        total: usize,
    },
}

/// The answer to a request.
pub(in crate::journal) enum LogWriteReply {
    /// The records of the new events.
    Appended(Vec<Record>),
    /// The link of the batch; none for an empty one.
    Restored(Option<BatchLink>),
    /// The request is done.
    Done,
    /// Whether the part was written: not if the newest segment has no room for it and no events.
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

/// How many of the newest batches are searched for a stream's head, before the shared heads that
/// readers use. The newest batch may not be durable yet. In the others, a caller that writes often
/// finds its stream without waiting for a reader.
const REMEMBERED: usize = 3;

/// A batch with the answer to each of its requests, or a request that is written alone.
pub(in crate::journal) struct LogGroup {
    pub(super) batch: Option<StagedBatch>,
    pub(super) answers: Vec<LogAnswer>,
    pub(super) alone: Option<AloneWrite>,
}

/// The open group.
pub(in crate::journal) struct LogStage {
    shared: Arc<LogShared>,
    batch: Option<AppendStage>,
    /// The end of the journal before this group; none if it is the end that readers see.
    tip: Option<Tip>,
    /// The stream heads in the newest batches before this group, the newest first.
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
            let staged = self.before.iter().find_map(|heads| heads.get(stream));
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
            // Later requests follow what is durable after this one.
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
