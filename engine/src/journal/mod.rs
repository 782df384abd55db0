//! The journal: everything that ever happened, in one total order, durable once acknowledged.
//!
//! A journal is a set of streams. An [`Append`] names the sequence it expects to write at, so
//! that two writers can never interleave unseen, and a batch of them is **atomic over all its
//! streams**. Each event gets an [`Offset`], the journal-wide total order that history, export
//! and time travel go by.
//!
//! What a journal never does: it never acknowledges what is not durable, never drops or reorders
//! an event, and never passes over a damaged record in silence.
//!
//! [`conformance`] holds the suite that any implementation has to pass.

#[cfg(test)]
pub(crate) mod arbitrary;
pub mod chain;
pub mod conformance;
mod memory;
mod original;
mod record;
mod seal;
mod sled_applier;
mod sled_builder;
mod sled_inspector;
mod sled_journal;
mod sled_keys;
mod sled_replay;
mod sled_store;
mod sled_writer;
mod stage;
mod stored;
mod tail;

pub use chain::{BatchLink, ChainedJournal};
pub use memory::MemoryJournal;
pub use record::Stored;
pub(crate) use seal::Commitment;
pub use seal::{Archive, Horizon, Rest, RunEnd, Seal, Snapshot};
pub(crate) use sled_builder::SledBuilder;
pub use sled_inspector::SledInspector;
pub use sled_journal::SledJournal;
#[cfg(test)]
pub(crate) use sled_keys::{SealsAndHorizon, seals_and_horizon};

use async_trait::async_trait;

use crate::model::{Event, Hash, StreamId};

/// The journal-wide place of an event, from 0. Without gaps, but for those that a compaction left
/// below its [`Horizon`].
pub type Offset = u64;

/// The longest encoded record, in bytes.
pub const RECORD_MAX: usize = 4096;

/// Events to be written to one stream.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// The sequence the first of the events must get: the number of events there so far.
    pub expected_seq: u64,
    /// The events, in order.
    pub events: Vec<Event>,
}

/// An event as it stands in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its place in the whole journal.
    pub offset: Offset,
    /// Its stream.
    pub stream: StreamId,
    /// Its place in the stream, from 0.
    pub seq: u64,
    /// The event.
    pub event: Event,
    /// The link of the stream's chain: SHA-256 over the previous link, stream, seq and bytes.
    pub hash: Hash,
}

/// A stream and how far it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// The stream.
    pub stream: StreamId,
    /// The sequence the next event will get.
    pub next_seq: u64,
    /// The newest link of its chain.
    pub hash: Hash,
}

/// Why a journal could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The stream has moved on: somebody else wrote, or the caller's state is stale.
    #[error("stream {stream} is at {actual}, not at {expected}: nothing was written")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// What the caller expected.
        expected: u64,
        /// Where the stream is.
        actual: u64,
    },
    /// An encoded record would be longer than [`RECORD_MAX`]; nothing was written.
    #[error("a {event} event for {stream} takes {len} bytes, more than {RECORD_MAX}")]
    TooLong {
        /// The stream.
        stream: StreamId,
        /// The kind of event.
        event: &'static str,
        /// Its encoded length.
        len: usize,
    },
    /// A record does not match its checksum or cannot be read.
    #[error("the record at {place} is damaged: {why}")]
    Damaged {
        /// Stream and sequence where they can be read, otherwise the offset.
        place: String,
        /// What does not match.
        why: String,
    },
    /// Written by a newer version of this program.
    #[error("{what} was written in format {found}; this version reads up to {known}")]
    Newer {
        /// The journal or the record.
        what: String,
        /// The format found.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The disk or the store failed. What was acknowledged before stays; nothing more is written
    /// by this process.
    #[error("the journal cannot be written or read: {0}")]
    Storage(String),
    /// Another engine may write by now: nothing was written.
    #[error("the lease is past: another engine may act in this one's place")]
    LeaseLost,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// A store of events. See the module's text for its guarantees.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Writes the batch: all of it or nothing, durable when this returns `Ok`.
    ///
    /// The records come back as written, in the order of the batch.
    ///
    /// Cancel safety: dropping the future does not stop the write; the batch is then either
    /// written whole or not at all.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] and [`JournalError::TooLong`] before anything is written. After
    /// [`JournalError::Storage`] the batch's fate is unknown until the journal is opened again.
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError>;

    /// At most `limit` events of one stream from `from_seq` on; where those are archived, from the
    /// first on that is there. An unknown stream is empty.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] at the first record that cannot be believed: ask for fewer to
    /// read the good ones before it.
    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError>;

    /// At most `limit` events of the whole journal from `from` on, by offset. Offsets may be
    /// missing below the horizon, never above.
    ///
    /// # Errors
    /// As for [`Journal::read`].
    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError>;

    /// Every stream and how far it goes, sorted by id; also those whose events are archived.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError>;

    /// Below which offset events were archived; none of a journal that never was compacted.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn horizon(&self) -> Result<Option<Horizon>, JournalError>;

    /// What stands for a stream's events before the horizon; none where it had none.
    ///
    /// # Errors
    /// When the store cannot be read, or the seal is damaged.
    async fn seal(&self, stream: &StreamId) -> Result<Option<Seal>, JournalError>;

    /// At most `limit` seals, sorted by stream as text, from the first after `after` on.
    ///
    /// # Errors
    /// As for [`Journal::seal`].
    async fn seals(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<Seal>, JournalError>;
}
