//! What stands in the place of events that were moved into archives.
//!
//! A compacted journal has a [`Horizon`]: the offset below which events were archived. Every
//! stream that had events there has a [`Seal`], which says how far it went, with which link, and
//! what has to be known of it. Streams and the journal's chain go on above the horizon as if
//! nothing had happened. The horizon commits to all seals, and an event of the journal's own
//! stream ([`crate::model::EventKind::Compacted`]) commits to the horizon, so that the newest link
//! covers them too.

use sha2::{Digest as _, Sha256};

use super::{BatchLink, JournalError, Offset, stored::seals};
use crate::model::{EntityState, Hash, RunResult, StreamId, Timestamp};

/// Below which offset events were archived, and where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Horizon {
    /// Events before it are in archives; those of streams that are kept are in the journal, too.
    pub offset: Offset,
    /// The last link of the journal's chain before it.
    pub link: BatchLink,
    /// The archives, the oldest first; together they hold every event before the horizon.
    pub archives: Vec<Archive>,
    /// SHA-256 over the horizon's link, the archives and all seals.
    pub sealed: Hash,
}

/// An archive: an export of the events of a range of offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Archive {
    /// The offset of its first event.
    pub first: Offset,
    /// The offset after its last event.
    pub end: Offset,
    /// The link of the journal's chain that it ends with.
    pub link: Hash,
    /// The SHA-256 of the file.
    pub sha256: Hash,
    /// The bytes of the file.
    pub len: u64,
}

impl Archive {
    /// The name of its file.
    pub fn file_name(&self) -> String {
        format!("{:012}-{:012}.jsonl.gz", self.first, self.end)
    }
}

/// What is known of a stream's events before the horizon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The stream.
    pub stream: StreamId,
    /// How many events it had before the horizon.
    pub next_seq: u64,
    /// The link of the last of them.
    pub hash: Hash,
    /// The offset of the first of them.
    pub first: Offset,
    /// The offset of the last of them. [`Horizon::archives`] says which archive that is in.
    pub last: Offset,
    /// What became of them.
    pub rest: Rest,
}

/// What became of a stream's events before the horizon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rest {
    /// They are all there: the stream's run is open, or its entity goes by it.
    Kept,
    /// They were of the journal's own stream and say nothing that still counts.
    Journal,
    /// They were of a run that is over.
    Run(RunEnd),
    /// They were of an entity, and came to this.
    Entity(Box<Snapshot>),
}

/// How an archived run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunEnd {
    /// Every node succeeded.
    Succeeded,
    /// A node failed for good.
    Failed,
    /// The user cancelled it.
    Cancelled,
    /// A newer generation took its place, or nobody needed it any more.
    Superseded,
}

impl RunEnd {
    /// The end that a result tells of.
    pub fn of(result: &RunResult) -> Self {
        match result {
            RunResult::Succeeded => Self::Succeeded,
            RunResult::Failed(_) => Self::Failed,
            RunResult::Cancelled => Self::Cancelled,
            RunResult::Superseded => Self::Superseded,
        }
    }
}

/// An entity as its archived events made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// What they fold to; of its runs only those that are not archived.
    pub state: EntityState,
    /// When the first of them was recorded.
    pub created: Timestamp,
    /// When the entity's state last changed.
    pub changed: Timestamp,
}

impl Seal {
    /// Whether the stream's events are still there.
    pub fn is_kept(&self) -> bool {
        self.rest == Rest::Kept
    }

    /// The sequence from which on the stream's events are there.
    pub fn begin(&self) -> u64 {
        if self.is_kept() { 0 } else { self.next_seq }
    }
}

/// Builds up what a horizon commits to.
pub(crate) struct Commitment(Sha256);

impl Commitment {
    /// One over the last link before the horizon and the archives.
    pub(crate) fn new(link: &BatchLink, archives: &[Archive]) -> Self {
        let mut hash = Sha256::new();
        hash.update(link.last.to_be_bytes());
        hash.update(link.hash.0);
        for archive in archives {
            hash.update(archive.first.to_be_bytes());
            hash.update(archive.end.to_be_bytes());
            hash.update(archive.link.0);
            hash.update(archive.sha256.0);
            hash.update(archive.len.to_be_bytes());
        }
        Self(hash)
    }

    /// Takes in a seal; they come in the order of their streams.
    pub(crate) fn add(&mut self, seal: &Seal) -> Result<(), JournalError> {
        let (stream, value) = (seal.stream.to_string(), seals::encode_seal(seal)?);
        self.0.update((stream.len() as u64).to_be_bytes());
        self.0.update(stream.as_bytes());
        self.0.update((value.len() as u64).to_be_bytes());
        self.0.update(&value);
        Ok(())
    }

    pub(crate) fn hash(self) -> Hash {
        Hash(self.0.finalize().into())
    }
}
