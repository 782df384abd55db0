//! The writing half of the journal on sled: what the one writing thread does with a group.

use std::collections::HashMap;

use super::{
    BatchLink, JournalError, Record, Stored,
    sled_applier::Applier,
    sled_store::Store,
    stage::{Batch, Draft, Head, Stage, Tip},
    tail::Tail,
};
use crate::{group_commit::Commit, model::StreamId, permit::Permit};

/// Heads of streams that are kept in memory; more are looked up again.
const HEADS: usize = 64 * 1024;

/// Something to be written.
pub(super) enum Request {
    /// New events.
    Append(Vec<Draft>),
    /// Records of another journal; a durable batch of their own.
    Restore(Vec<Stored>),
}

/// What is told about a request.
pub(super) enum Reply {
    /// The new events as they stand in the journal.
    Appended(Vec<Record>),
    /// The link of the batch; none for an empty one.
    Restored(Option<BatchLink>),
}

type Answers = Vec<Result<Reply, JournalError>>;

/// The writer's state. It alone writes, so that its heads are true.
///
/// A batch is durable once it is in the tail; sled takes it over meanwhile. The heads of what sled
/// has not taken over yet are always among `heads`.
pub(super) struct Writer {
    tail: Tail,
    applier: Applier,
    store: Store,
    tip: Tip,
    heads: HashMap<StreamId, Head>,
    permit: Permit,
}

impl Writer {
    pub(super) fn new(
        tail: Tail,
        applier: Applier,
        store: Store,
        tip: Tip,
        permit: Permit,
    ) -> Self {
        Self {
            tail,
            applier,
            store,
            tip,
            heads: HashMap::new(),
            permit,
        }
    }

    fn head(&self, stream: &StreamId) -> Result<Head, JournalError> {
        self.heads
            .get(stream)
            .copied()
            .map_or_else(|| self.store.head(stream), Ok)
    }

    /// Writes the appends as one durable batch.
    fn append(&mut self, group: Vec<Vec<Draft>>) -> Result<Answers, JournalError> {
        let mut stage = Stage::new(&self.tip);
        let admit = |request| {
            stage
                .admit(request, |id| self.head(id))
                .map(Reply::Appended)
        };
        let answers = group.into_iter().map(admit).collect();
        self.write(stage.seal())?;
        Ok(answers)
    }

    fn restore(&mut self, request: Vec<Stored>) -> Result<Answers, JournalError> {
        let mut stage = Stage::new(&self.tip);
        if let Err(e) = stage.admit_stored(request, |id| self.head(id)) {
            return Ok(vec![Err(e)]);
        }
        let batch = stage.seal();
        let link = batch.as_ref().map(|batch| batch.link);
        self.write(batch)?;
        Ok(vec![Ok(Reply::Restored(link))])
    }

    fn write(&mut self, batch: Option<Batch>) -> Result<(), JournalError> {
        let Some(batch) = batch else { return Ok(()) };
        if self.tail.is_full_for(&batch) {
            // What the file after this one holds has been followed by two syncs then.
            self.applier.sync()?;
            self.tail.turn();
        }
        self.tail.prepare(&batch);
        // As near to the write as can be.
        self.permit.to_append()?;
        let kept = self.tail.append();
        kept.map_err(|e| JournalError::Storage(format!("the newest events: {e}")))?;
        self.tip = batch.tip;
        if self.heads.len() > HEADS {
            self.applier.wait_taken(batch.link.first)?;
            self.heads.clear();
        }
        self.heads.extend(batch.heads.clone());
        self.store.set_durable(self.tip.next);
        self.applier.take(batch)
    }
}

impl Commit for Writer {
    type Request = Request;
    type Reply = Reply;

    fn weight(request: &Request) -> usize {
        match request {
            Request::Append(drafts) => drafts.iter().map(Draft::weight).sum(),
            Request::Restore(stored) => stored.iter().map(|stored| stored.bytes.len()).sum(),
        }
    }

    fn commit(&mut self, group: Vec<Request>) -> Result<Answers, JournalError> {
        let (mut answers, mut appends) = (Vec::with_capacity(group.len()), Vec::new());
        for request in group {
            match request {
                Request::Append(drafts) => appends.push(drafts),
                Request::Restore(stored) => {
                    answers.extend(self.append(std::mem::take(&mut appends))?);
                    answers.extend(self.restore(stored)?);
                }
            }
        }
        answers.extend(self.append(appends)?);
        Ok(answers)
    }
}
