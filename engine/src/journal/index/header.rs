//! The entry that says what the states beside it are.
//!
//! ```text
//! fold version                  4 bytes, big-endian
//! boot id, as of, link, count   bincode
//! sum                           16 bytes, big-endian
//! ```
//!
//! The version comes first and bare, so that any version reads it. The sum is that of all states
//! and of what precedes it here.

use bincode::{Decode, Encode};

use super::{
    Unusable,
    sum::{Sum, Sums},
};
use crate::{
    journal::{BatchLink, Offset, stored},
    model::Hash,
};

/// How states are folded, written and summed. Counted up with every change of what the same
/// events come to.
pub(super) const FOLD_VERSION: u32 = 2;

/// Its key; it stands before all states.
pub(super) const KEY: &[u8] = b"header";

/// What states are used by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexHeader {
    /// Which start of the machine wrote them.
    pub(super) boot_id: String,
    /// Every event before it is folded in.
    pub(super) as_of: Offset,
    /// The link of the batch that ends there.
    pub(super) link: Option<BatchLink>,
}

#[derive(Encode, Decode)]
struct StoredHeader {
    boot_id: String,
    as_of: u64,
    link: Option<ChainLink>,
    count: u64,
}

#[derive(Encode, Decode)]
struct ChainLink {
    first: u64,
    last: u64,
    prev: [u8; 32],
    hash: [u8; 32],
}

/// A header as it was found, of which nothing is believed before its sum is known.
pub(super) struct FoundHeader {
    header: IndexHeader,
    count: u64,
    own: Sum,
    sum: Sum,
}

impl IndexHeader {
    /// Its bytes, over states of those sums.
    pub(super) fn encode(&self, sums: &Sums) -> Result<Vec<u8>, Unusable> {
        let stored = StoredHeader {
            boot_id: self.boot_id.clone(),
            as_of: self.as_of,
            link: self.link.as_ref().map(ChainLink::store),
            count: sums.len() as u64,
        };
        let mut bytes = FOLD_VERSION.to_be_bytes().to_vec();
        stored::encode(stored, &mut bytes).map_err(|e| Unusable::Failed(e.to_string()))?;
        let sum = Sum::of(KEY, &bytes).plus(sums.total());
        bytes.extend_from_slice(&sum.to_bytes());
        Ok(bytes)
    }
}

/// Which start of the machine wrote a header; none where it cannot be read.
pub(super) fn written_in(bytes: &[u8]) -> Option<String> {
    let (_, rest) = bytes.split_first_chunk::<4>()?;
    let (stored, _) = stored::decode::<StoredHeader>(rest).ok()?;
    Some(stored.boot_id)
}

impl FoundHeader {
    /// Reads a header, and refuses those of other versions and of other starts of the machine.
    pub(super) fn parse(bytes: &[u8], boot_id: &str) -> Result<Self, Unusable> {
        let cut_off = || Unusable::Damaged("its header is cut off".to_owned());
        let (version, _) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        match u32::from_be_bytes(*version) {
            FOLD_VERSION => {}
            other => return Err(Unusable::OtherFold(other)),
        }
        let (signed, sum) = bytes.split_last_chunk().ok_or_else(cut_off)?;
        let body = signed.get(version.len()..).ok_or_else(cut_off)?;
        let (stored, _) = stored::decode::<StoredHeader>(body)?;
        if stored.boot_id != boot_id {
            return Err(Unusable::Restarted);
        }
        Ok(Self {
            header: IndexHeader {
                boot_id: stored.boot_id,
                as_of: stored.as_of,
                link: stored.link.map(ChainLink::restore),
            },
            count: stored.count,
            own: Sum::of(KEY, signed),
            sum: Sum::from_bytes(*sum),
        })
    }

    /// The header, if the states read have the sum it was written with.
    pub(super) fn believe(self, sums: &Sums) -> Result<IndexHeader, Unusable> {
        let damaged = |why: String| Err(Unusable::Damaged(why));
        if sums.len() as u64 != self.count {
            return damaged(format!("{} states where {} were", sums.len(), self.count));
        }
        if self.own.plus(sums.total()) != self.sum {
            return damaged("its sum is not that of its states".to_owned());
        }
        Ok(self.header)
    }
}

impl ChainLink {
    fn store(link: &BatchLink) -> Self {
        Self {
            first: link.first,
            last: link.last,
            prev: link.prev.0,
            hash: link.hash.0,
        }
    }

    fn restore(self) -> BatchLink {
        BatchLink {
            first: self.first,
            last: self.last,
            prev: Hash(self.prev),
            hash: Hash(self.hash),
        }
    }
}
