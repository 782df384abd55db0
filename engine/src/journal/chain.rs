//! The two hash chains that reveal a changed history.
//!
//! Each stream is a chain: a record's link covers its bytes, its stream, its position there and the
//! previous link. The journal is a chain of its durable batches: a batch's link covers the links
//! of its records, its range of offsets and the previous link, and is stored in the same write.
//! A copy of the newest batch link, stored elsewhere, later shows whether anything before it was
//! changed, removed, reordered or inserted.

use async_trait::async_trait;
use sha2::{Digest as _, Sha256};

use super::{Journal, JournalError, Missing, Offset, Stored, StreamHead};
use crate::model::{Hash, StreamId};

/// The link of a record: SHA-256 over the previous link, its stream, its sequence and its bytes.
///
/// Parts of variable length are preceded by their length, so that different records never have the
/// same hash input.
pub fn link(prev: Hash, stream: &StreamId, seq: u64, bytes: &[u8]) -> Hash {
    let mut hash = Sha256::new();
    hash.update(prev.0);
    stream.with_name(|parts| {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        hash.update((len as u64).to_be_bytes());
        parts.iter().for_each(|part| hash.update(part));
    });
    hash.update(seq.to_be_bytes());
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
    Hash(hash.finalize().into())
}

/// A link of the journal's chain: one batch that became durable as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLink {
    /// The offset of its first record.
    pub first: Offset,
    /// The offset of its last record.
    pub last: Offset,
    /// The previous link; all zero at the journal's first batch.
    pub prev: Hash,
    /// SHA-256 over `prev`, `first`, `last` and the records' links.
    pub hash: Hash,
}

impl BatchLink {
    /// Links a batch whose records have the links `records`, in the order of their offsets.
    pub fn new<'a>(
        prev: Hash,
        first: Offset,
        last: Offset,
        records: impl IntoIterator<Item = &'a Hash>,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(prev.0);
        hash.update(first.to_be_bytes());
        hash.update(last.to_be_bytes());
        records.into_iter().for_each(|record| hash.update(record.0));
        Self {
            first,
            last,
            prev,
            hash: Hash(hash.finalize().into()),
        }
    }
}

/// A journal whose stored bytes can be read and written verbatim. Audit, export and rebuild need
/// this.
#[async_trait]
pub trait ChainedJournal: Journal {
    /// At most `limit` records from `from` on by offset, byte for byte, with checked envelopes.
    ///
    /// # Errors
    /// As for [`Journal::read_all`].
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError>;

    /// At most `limit` links of the journal's chain, from the first batch that begins at `from`
    /// or later.
    ///
    /// # Errors
    /// As for [`Journal::read_all`].
    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError>;

    /// The newest link of the journal's chain; none while the journal is empty.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn head(&self) -> Result<Option<BatchLink>, JournalError>;

    /// Writes records of another journal back as one durable batch, byte for byte, so that their
    /// links are the same. Atomic and durable like [`Journal::append`]. Returns the link of the
    /// batch; none for an empty one.
    ///
    /// # Errors
    /// [`JournalError::Conflict`] when a record does not follow the last one of its stream, and
    /// [`JournalError::Damaged`] when its bytes, position or link do not match; nothing is written.
    async fn restore(&self, batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError>;

    /// Continues after a range of offsets that is missing in the original journal too. The range
    /// begins where this journal ends, the next batch is linked to `link`, and `heads` are the
    /// heads of the streams after the range. Durable when it returns; [`Journal::missing`] then
    /// includes the range.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] when the range does not begin where the journal ends, or a stream's
    /// next sequence would decrease; [`JournalError::Storage`] from a journal that does not support
    /// this. Nothing is written in either case.
    async fn restore_missing(
        &self,
        _missing: Missing,
        _link: Hash,
        _heads: Vec<StreamHead>,
    ) -> Result<(), JournalError> {
        let why = "it cannot continue after a missing range";
        Err(JournalError::Storage(why.to_owned()))
    }
}
