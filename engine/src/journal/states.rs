//! The states of a journal's streams: their events folded, as of an offset.
//!
//! States are derived: without them, the events can be folded again. They are stored so that a
//! start reads states instead of history, in two places: the index, which is safe to delete, and
//! base frames in the log itself, from which a rebuild and a view of the past begin.
//!
//! This module folds nothing (see [`crate::model`]) and writes nothing.

use std::{fmt, sync::Arc};

use sha2::{Digest as _, Sha256};

use super::{
    BatchLink, JournalError, Offset,
    stored::{self, Unreadable},
};
use crate::model::{EntityId, EntityState, Hash, RunId, RunState, StreamId, Timestamp};

/// The state of a stream after its events, with the stream's head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folded<T> {
    /// The resulting state, shared with other holders.
    pub state: Arc<T>,
    /// The sequence the stream's next event gets.
    pub next_seq: u64,
    /// The link of its newest event; see [`super::chain`].
    pub hash: Hash,
    /// The offset of its first event.
    pub first: Offset,
    /// When its first event was recorded.
    pub created: Timestamp,
    /// For an entity, when its state last got another name; for a run, when its newest event was
    /// recorded.
    pub changed: Timestamp,
}

/// The state before the first event.
impl<T: Default> Default for Folded<T> {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            next_seq: 0,
            hash: Hash::default(),
            first: 0,
            created: Timestamp::default(),
            changed: Timestamp::default(),
        }
    }
}

/// One stream with its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamState {
    /// An entity.
    Entity(EntityId, Folded<EntityState>),
    /// A run.
    Run(RunId, Folded<RunState>),
    /// The journal's own stream, of which only the head is stored.
    Journal {
        /// The sequence its next event gets.
        next_seq: u64,
        /// The link of its newest event.
        hash: Hash,
    },
}

impl StreamState {
    /// The stream.
    pub fn stream(&self) -> StreamId {
        match self {
            Self::Entity(id, _) => StreamId::Entity(id.clone()),
            Self::Run(id, _) => StreamId::Run(*id),
            Self::Journal { .. } => StreamId::Journal,
        }
    }
}

/// The states of a journal as of an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct States {
    /// All events before this offset are folded in, and no others.
    pub as_of: Offset,
    /// The newest link of the journal's chain at that offset; none before the first batch.
    pub link: Option<BatchLink>,
    /// Every entity, and every run that is not forgotten, in any order.
    pub streams: Vec<StreamState>,
}

/// Changed states, to be written to an index.
#[derive(Clone, Debug, Default)]
pub struct StatesUpdate {
    /// All events before this offset are folded in.
    pub as_of: Offset,
    /// The newest link of the journal's chain at that offset.
    pub link: Option<BatchLink>,
    /// The states that changed since the previous update.
    pub changed: Vec<StreamState>,
    /// Streams whose state is no longer stored.
    pub forgotten: Vec<StreamId>,
}

/// A range of offsets that can no longer be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
    /// Why they are missing.
    pub cause: MissingCause,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to.saturating_sub(1) {
            last if last <= self.from => write!(f, "offset {}", self.from),
            last => write!(f, "offsets {} to {last}", self.from),
        }
    }
}

/// Why a range of events is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingCause {
    /// They were removed on purpose; a later base covers them.
    Removed,
    /// They were lost, and a repair closed the range.
    Lost,
    /// They are damaged or absent, and the log is not repaired yet.
    Damaged,
}

/// The hash of a base, which its `BaseWritten` event records: SHA-256 over the offset of the states,
/// their link, and every encoded state, sorted by their bytes.
///
/// In order: `as_of` (8 bytes, big-endian); of the link `first` and `last` (8 bytes each), `prev`
/// and `hash` (32 bytes each), all zero if there is no link; then for each state its length (8
/// bytes) and its bytes.
///
/// # Errors
/// [`JournalError::Storage`] when a state is too large to be stored.
pub fn base_hash(states: &States) -> Result<Hash, JournalError> {
    Ok(EncodedStates::new(states)?.hash())
}

/// States as a base stores them.
pub(in crate::journal) struct EncodedStates {
    pub(in crate::journal) as_of: Offset,
    pub(in crate::journal) link: Option<BatchLink>,
    /// Sorted by their bytes.
    pub(in crate::journal) streams: Vec<Vec<u8>>,
}

impl EncodedStates {
    /// # Errors
    /// As for [`base_hash`].
    pub(in crate::journal) fn new(states: &States) -> Result<Self, JournalError> {
        let encoded = states.streams.iter().map(encode_state);
        let mut streams = encoded.collect::<Result<Vec<_>, _>>()?;
        streams.sort_unstable();
        Ok(Self {
            as_of: states.as_of,
            link: states.link,
            streams,
        })
    }

    /// See [`base_hash`].
    pub(in crate::journal) fn hash(&self) -> Hash {
        let mut hash = Sha256::new();
        hash.update(self.as_of.to_be_bytes());
        let (first, last) = self.link.map_or((0, 0), |link| (link.first, link.last));
        let (prev, link) = self
            .link
            .map(|link| (link.prev, link.hash))
            .unwrap_or_default();
        hash.update(first.to_be_bytes());
        hash.update(last.to_be_bytes());
        hash.update(prev.0);
        hash.update(link.0);
        for state in &self.streams {
            hash.update((state.len() as u64).to_be_bytes());
            hash.update(state);
        }
        Hash(hash.finalize().into())
    }
}

/// The stored form of a state.
///
/// # Errors
/// [`JournalError::Storage`] when it is too large to be stored.
pub fn encode_state(state: &StreamState) -> Result<Vec<u8>, JournalError> {
    stored::states::encode_state(state)
}

/// Decodes the bytes that [`encode_state`] returned.
///
/// # Errors
/// [`JournalError::Damaged`] for bytes that no version wrote, [`JournalError::Newer`] for bytes of a
/// later version.
pub fn decode_state(bytes: &[u8]) -> Result<StreamState, JournalError> {
    stored::states::decode_state(bytes).map_err(|e| match e {
        Unreadable::Newer { found, known } => JournalError::Newer {
            what: "a state".to_owned(),
            found,
            known,
        },
        Unreadable::Damaged(why) => JournalError::Damaged {
            place: "a state".to_owned(),
            why,
        },
    })
}
