//! Seals and horizons as they lie in a journal: a version, then what that version wrote.

use super::{Unreadable, decode, encode, v1::seal as v1};
use crate::{
    journal::{Archive, BatchLink, Horizon, JournalError, Seal},
    model::{Hash, StreamId},
};

/// The newest form of seals and horizons this version reads, and the one it writes.
const FORMAT: u8 = 1;

fn sealed(value: impl bincode::Encode) -> Result<Vec<u8>, JournalError> {
    let mut bytes = vec![FORMAT];
    encode(value, &mut bytes)
        .map_err(|e| JournalError::Storage(format!("a seal cannot be encoded: {e}")))?;
    Ok(bytes)
}

fn unsealed<T: bincode::Decode<()>>(bytes: &[u8]) -> Result<T, Unreadable> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => match decode::<T>(body)? {
            (value, []) => Ok(value),
            _ => Err(Unreadable::Damaged("bytes follow it".to_owned())),
        },
        Some((format, _)) if *format > FORMAT => Err(Unreadable::Newer {
            found: (*format).into(),
            known: FORMAT.into(),
        }),
        _ => Err(Unreadable::Damaged("no version wrote it".to_owned())),
    }
}

/// A seal without its stream, which is its key.
pub(in crate::journal) fn encode_seal(seal: &Seal) -> Result<Vec<u8>, JournalError> {
    sealed(v1::Seal::store(seal))
}

pub(in crate::journal) fn decode_seal(stream: StreamId, bytes: &[u8]) -> Result<Seal, Unreadable> {
    unsealed::<v1::Seal>(bytes)?.restore(stream)
}

/// A horizon without its archives, which lie beside it.
pub(in crate::journal) fn encode_horizon(horizon: &Horizon) -> Result<Vec<u8>, JournalError> {
    let BatchLink {
        first,
        last,
        prev,
        hash,
    } = horizon.link;
    sealed(v1::Horizon {
        offset: horizon.offset,
        first,
        last,
        prev: prev.0,
        hash: hash.0,
        archives: horizon.archives.len() as u64,
        sealed: horizon.sealed.0,
    })
}

/// A horizon and how many archives it has.
pub(in crate::journal) fn decode_horizon(bytes: &[u8]) -> Result<(Horizon, u64), Unreadable> {
    let stored = unsealed::<v1::Horizon>(bytes)?;
    let link = BatchLink {
        first: stored.first,
        last: stored.last,
        prev: Hash(stored.prev),
        hash: Hash(stored.hash),
    };
    let horizon = Horizon {
        offset: stored.offset,
        link,
        archives: Vec::new(),
        sealed: Hash(stored.sealed),
    };
    Ok((horizon, stored.archives))
}

pub(in crate::journal) fn encode_archive(archive: &Archive) -> Result<Vec<u8>, JournalError> {
    sealed(v1::Archive {
        first: archive.first,
        end: archive.end,
        link: archive.link.0,
        sha256: archive.sha256.0,
        len: archive.len,
    })
}

pub(in crate::journal) fn decode_archive(bytes: &[u8]) -> Result<Archive, Unreadable> {
    let stored = unsealed::<v1::Archive>(bytes)?;
    Ok(Archive {
        first: stored.first,
        end: stored.end,
        link: Hash(stored.link),
        sha256: Hash(stored.sha256),
        len: stored.len,
    })
}
