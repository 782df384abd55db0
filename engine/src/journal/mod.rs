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
pub(crate) mod archive;
mod as_of;
pub mod chain;
pub mod conformance;
mod disk_journal;
mod index;
mod layer;
pub(crate) mod log;
mod memory;
mod record;
pub(crate) mod repair;
pub mod stage;
mod states;
mod stored;

pub use as_of::JournalAsOf;
pub use chain::{BatchLink, ChainedJournal};
pub use disk_journal::{Archived, DiskJournal};
pub use layer::JournalLayer;
pub(crate) use log::OpenMode;
pub use log::{Damage, DamagedRange, Lost, RecoveredRange, Regainable};
pub use memory::MemoryJournal;
pub use record::Stored;
pub use repair::Survey;
pub use states::{
    Folded, Missing, MissingCause, States, StatesUpdate, StreamState, base_hash, decode_state,
    encode_state,
};

use async_trait::async_trait;

use crate::model::{Event, Hash, StreamId};

/// The journal-wide place of an event, from 0. Without gaps, but for ranges that are
/// [`Missing`].
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

/// What stands at an offset.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are events, and a box each would cost more"
)]
pub enum Entry {
    /// An event.
    Event(Record),
    /// A record that is whole by its checksum and cannot be decoded.
    Undecodable {
        /// Its place in the whole journal.
        offset: Offset,
        /// Its stream.
        stream: StreamId,
        /// Its place in the stream.
        seq: u64,
        /// Its link.
        hash: Hash,
        /// What is wrong with it.
        why: String,
    },
}

impl Entry {
    /// Its place in the whole journal.
    pub fn offset(&self) -> Offset {
        match self {
            Self::Event(record) => record.offset,
            Self::Undecodable { offset, .. } => *offset,
        }
    }

    /// Its stream.
    pub fn stream(&self) -> &StreamId {
        match self {
            Self::Event(record) => &record.stream,
            Self::Undecodable { stream, .. } => stream,
        }
    }

    /// What a stored record says.
    ///
    /// # Errors
    /// [`JournalError::Newer`] for one of a later version: that is no damage.
    pub fn of(stored: &Stored) -> Result<Self, JournalError> {
        match stored.record() {
            Ok(record) => Ok(Self::Event(record)),
            Err(JournalError::Damaged { why, .. }) => Ok(Self::Undecodable {
                offset: stored.offset,
                stream: stored.stream.clone(),
                seq: stored.seq,
                hash: stored.hash,
                why,
            }),
            Err(other) => Err(other),
        }
    }
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
    #[error("the lease has expired: another process may be acting for this state directory")]
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

    /// At most `limit` events of one stream from `from_seq` on; where those are missing, from the
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

    /// At most `limit` events of the whole journal from `from` on, by offset; ranges that are
    /// [`Missing`] for good are passed over.
    ///
    /// # Errors
    /// As for [`Journal::read`].
    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError>;

    /// Every stream and how far it goes, sorted by id; also those whose events are missing.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError>;

    /// At most `limit` events of the whole journal from `from` on, by offset, past what cannot be
    /// decoded: a record that is whole by its checksum and yet cannot be understood concerns its
    /// own stream alone.
    ///
    /// # Errors
    /// As for [`Journal::read_all`], but for such records.
    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let records = self.read_all(from, limit).await?;
        Ok(records.into_iter().map(Entry::Event).collect())
    }

    /// The newest states that are at hand, of those as of `at` or before; the newest of all where
    /// `at` is none. Where there are none, the empty states of offset 0: fold from there.
    ///
    /// # Errors
    /// When the store cannot be read, or events that would have to be folded are missing.
    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError>;

    /// Takes changed states into the index, if there is one, some time later. Never waits.
    fn publish(&self, _update: StatesUpdate) {}

    /// Whether the index holds nothing yet: the next update has to hold every stream.
    fn wants_all_states(&self) -> bool {
        false
    }

    /// Whether the journal has outgrown its newest base.
    fn base_is_due(&self) -> bool {
        false
    }

    /// Writes a base; durable when it returns. The hash is what an event then commits to. None
    /// where the journal keeps no bases.
    ///
    /// Cancel safety: a base that was not written to its end is believed by nobody.
    ///
    /// # Errors
    /// As for [`Journal::append`].
    async fn write_base(&self, _states: States) -> Result<Option<Hash>, JournalError> {
        Ok(None)
    }

    /// The ranges of offsets that cannot be read any more, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        Ok(Vec::new())
    }
}
