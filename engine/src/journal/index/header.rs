//! The header entry of an index: it describes the states that are stored beside it.
//!
//! ```text
//! fold version                  4 bytes, big-endian
//! boot id, as of, link, count   bincode
//! sum                           16 bytes, big-endian
//! ```
//!
//! The fold version comes first and unencoded, so that every version can read it. The sum covers all
//! states and the bytes before it in this entry.

use bincode::{Decode, Encode};

use super::{
    Unusable,
    sum::{Sum, Sums},
};
use crate::{
    journal::{BatchLink, Offset, stored},
    model::Hash,
};

/// The version of how states are folded, encoded and summed. It grows with every change after which
/// the same events lead to other states.
pub(super) const FOLD_VERSION: u32 = 3;

/// The key of the header; it sorts before the keys of all states.
pub(super) const KEY: &[u8] = b"header";

/// The facts that decide whether the states of an index are used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IndexHeader {
    /// The boot of the machine in which they were written.
    pub(super) boot_id: String,
    /// All events before this offset are folded in.
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

/// A header that was read, but not yet verified by its sum.
pub(super) struct FoundHeader {
    header: IndexHeader,
    count: u64,
    own: Sum,
    sum: Sum,
}

impl IndexHeader {
    /// Its bytes, for states with these sums.
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

/// The boot ID in a header; none if it cannot be read.
pub(super) fn written_in(bytes: &[u8]) -> Option<String> {
    let (_, rest) = bytes.split_first_chunk::<4>()?;
    let (stored, _) = stored::decode::<StoredHeader>(rest).ok()?;
    Some(stored.boot_id)
}

impl FoundHeader {
    /// Reads a header; refuses one of another version or of another boot of the machine.
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

    /// The header, if the states that were read match its count and its sum.
    pub(super) fn verify(self, sums: &Sums) -> Result<IndexHeader, Unusable> {
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
