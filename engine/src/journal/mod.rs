//! The journal: all events of a state directory, in one total order, durable once acknowledged.
//!
//! A journal is a set of streams. An [`Append`] names the sequence it expects to write at, so
//! that two writers can never interleave undetected, and a batch of them is **atomic over all its
//! streams**. Each event gets an [`Offset`], its position in the total order of the whole journal.
//! History, export and views of the past use that order.
//!
//! A journal never acknowledges an event that is not durable, never drops or reorders an event,
//! and never skips a damaged record silently.
//!
//! [`conformance`] is the test suite that every implementation has to pass.

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
mod record_damage;
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
pub use record_damage::{RecordDamage, RecordDamageCause, RecordPlace};
pub use repair::Survey;
pub(crate) use repair::untold;
pub use states::{
    Folded, Missing, MissingCause, States, StatesUpdate, StreamState, base_hash, decode_state,
    encode_state,
};

use async_trait::async_trait;

use crate::model::{Event, Hash, StreamId};

/// The position of an event in the whole journal, from 0. Without gaps, except for ranges that are
/// [`Missing`].
pub type Offset = u64;

/// The longest encoded record, in bytes.
pub const RECORD_MAX: usize = 4096;

/// Events to be written to one stream.
#[derive(Clone, Debug)]
pub struct Append {
    /// The stream.
    pub stream: StreamId,
    /// The sequence that the first of the events must get: the number of events in the stream so far.
    pub expected_seq: u64,
    /// The events, in order.
    pub events: Vec<Event>,
}

/// An event as it is recorded in the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its position in the whole journal.
    pub offset: Offset,
    /// Its stream.
    pub stream: StreamId,
    /// Its position in the stream, from 0.
    pub seq: u64,
    /// The event.
    pub event: Event,
    /// The link of the stream's chain: SHA-256 over the previous link, stream, seq and bytes.
    pub hash: Hash,
}

/// The content of one offset: an event, or a record that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all of them are events, and a box each would cost more"
)]
pub enum Entry {
    /// An event.
    Event(Record),
    /// A record whose checksum is correct but that cannot be decoded.
    Undecodable {
        /// Its position in the whole journal.
        offset: Offset,
        /// Its stream.
        stream: StreamId,
        /// Its position in the stream.
        seq: u64,
        /// The link of the stream's chain.
        hash: Hash,
        /// What is wrong with it.
        why: String,
    },
}

impl Entry {
    /// Its position in the whole journal.
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

    /// Decodes a stored record; one that cannot be decoded becomes [`Entry::Undecodable`].
    ///
    /// # Errors
    /// [`JournalError::Newer`] for a record of a later version, which is not damage.
    pub fn of(stored: &Stored) -> Result<Self, JournalError> {
        match stored.record() {
            Ok(record) => Ok(Self::Event(record)),
            Err(JournalError::DamagedRecord(damage)) => Ok(Self::Undecodable {
                offset: stored.offset,
                stream: stored.stream.clone(),
                seq: stored.seq,
                hash: stored.hash,
                why: damage.cause.to_string(),
            }),
            Err(error) => Err(error),
        }
    }
}

/// The head of a stream: its next sequence and its newest link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamHead {
    /// The stream.
    pub stream: StreamId,
    /// The sequence the next event will get.
    pub next_seq: u64,
    /// The newest link of its chain.
    pub hash: Hash,
}

/// Why a call of a journal failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The stream has more or fewer events than expected: another writer appended to it, or the
    /// caller's state is stale.
    #[error("stream {stream} is at {actual}, not at {expected}: nothing was written")]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// The sequence that the caller expected.
        expected: u64,
        /// The next sequence of the stream.
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
    /// A record is missing, does not match its checksum or cannot be read.
    #[error("the record at {} is damaged: {}", .0.place, .0.cause)]
    DamagedRecord(Box<RecordDamage>),
    /// The blob does not exist, although the journal names it.
    #[error("the blob {0} is missing")]
    MissingBlob(Hash),
    /// Something other than a record is damaged: a file of the journal, a range of it, or a blob.
    #[error("the record at {place} is damaged: {why}")]
    Damaged {
        /// The name of what is damaged.
        place: String,
        /// The mismatch.
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
    /// The disk or the store failed. Events acknowledged before remain; this process writes
    /// nothing more.
    #[error("the journal cannot be written or read: {0}")]
    Storage(String),
    /// The lease has expired, so another process may be writing. Nothing was written.
    #[error("the lease has expired: another process may be acting for this state directory")]
    LeaseLost,
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
}

/// Damage in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageWords {
    /// Where it is.
    pub place: String,
    /// What it is.
    pub why: String,
}

impl JournalError {
    /// Whether something that was stored is missing or not what was written.
    pub fn is_damage(&self) -> bool {
        self.damage().is_some()
    }

    /// The damage that this error reports; `None` for errors of other kinds.
    pub fn damage(&self) -> Option<DamageWords> {
        let (place, why) = match self {
            Self::Damaged { place, why } => (place.clone(), why.clone()),
            Self::DamagedRecord(damage) => (damage.place.to_string(), damage.cause.to_string()),
            Self::MissingBlob(hash) => {
                let why = RecordDamageCause::Missing.to_string();
                (format!("blob {hash}"), why)
            }
            _ => return None,
        };
        Some(DamageWords { place, why })
    }
}

/// A store of events. The module documentation states its guarantees.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Writes the batch: all of it or nothing, durable when this returns `Ok`.
    ///
    /// Returns the written records in the order of the batch.
    ///
    /// Cancel safety: dropping the future does not stop the write; the batch is then either
    /// written whole or not at all.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] and [`JournalError::TooLong`] before anything is written. After
    /// [`JournalError::Storage`] it is unknown whether the batch was written, until the journal is
    /// opened again.
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError>;

    /// At most `limit` events of one stream, starting at `from_seq` or, if that event is missing, at
    /// the next one that exists. An unknown stream is empty.
    ///
    /// # Errors
    /// [`JournalError::DamagedRecord`] if any of these records is damaged. To read the good records before
    /// it, use a smaller limit.
    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError>;

    /// At most `limit` events of the whole journal from `from` on, by offset. Ranges that are
    /// permanently [`Missing`] are skipped.
    ///
    /// # Errors
    /// As for [`Journal::read`].
    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError>;

    /// The head of every stream, sorted by ID. Includes streams whose events are missing.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError>;

    /// At most `limit` events of the whole journal from `from` on, by offset. A record with a
    /// correct checksum that cannot be decoded is returned as [`Entry::Undecodable`], because it
    /// affects only its own stream.
    ///
    /// # Errors
    /// As for [`Journal::read_all`], except for undecodable records.
    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let records = self.read_all(from, limit).await?;
        Ok(records.into_iter().map(Entry::Event).collect())
    }

    /// The newest stored states as of `at` or earlier; without `at`, the newest of all. If none are
    /// stored, the empty states of offset 0. The caller folds later events into them.
    ///
    /// # Errors
    /// When the store cannot be read, or events that would have to be folded are missing.
    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError>;

    /// Passes changed states to the index, if there is one, which writes them later. Never waits.
    fn publish(&self, _update: StatesUpdate) {}

    /// Whether the index is still empty, so that the next update has to contain every stream.
    fn wants_all_states(&self) -> bool {
        false
    }

    /// Whether enough was written since the newest base that another one should be written.
    fn base_is_due(&self) -> bool {
        false
    }

    /// Writes a base; durable when it returns. Returns the hash that the `BaseWritten` event records;
    /// none if no base was written, as in a journal without bases.
    ///
    /// Cancel safety: an incomplete base is ignored.
    ///
    /// # Errors
    /// As for [`Journal::append`].
    async fn write_base(&self, _states: States) -> Result<Option<Hash>, JournalError> {
        Ok(None)
    }

    /// The ranges of offsets that can no longer be read, in order.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        Ok(Vec::new())
    }
}
