//! How a journal lies in a sled tree.
//!
//! | key | value |
//! |---|---|
//! | `e` offset | a record, as [`Stored`](super::Stored) holds it |
//! | `s` stream NUL seq | [`Place`]: the record's offset and link |
//! | `b` first offset | [`BatchLink`]: a link of the journal's chain |
//! | `f` | the layout's version |
//!
//! and in layout 2, that of a compacted journal, also
//!
//! | key | value |
//! |---|---|
//! | `h` | the [`Horizon`]; links and most records below it are not there |
//! | `a` first offset | an [`Archive`] |
//! | `z` stream NUL | a [`Seal`] |
//!
//! Numbers are big-endian, so that keys sort as numbers do. Nothing is ever overwritten or
//! removed: the head of a stream is its last `s`, else its seal. Values that are not records end
//! with their CRC32C, which covers the key too.

use super::{
    Archive, BatchLink, Horizon, JournalError, Offset, Seal,
    stored::{Unreadable, seals},
};
use crate::model::{Hash, StreamId};

/// The layout of a journal that never was compacted.
pub(super) const LAYOUT: u32 = 1;
/// The layout of a compacted journal, the newest that this version reads.
pub(super) const COMPACTED: u32 = 2;
/// Where the layout's version lies.
pub(super) const FORMAT: &[u8] = b"f";
/// The first key past every record.
pub(super) const AFTER_RECORDS: &[u8] = b"f";
/// The first key past every batch link.
pub(super) const AFTER_BATCHES: &[u8] = b"c";
/// The first byte of every record's key.
pub(super) const RECORDS: &[u8] = b"e";
/// The first byte of every place's key.
pub(super) const PLACES: &[u8] = b"s";
/// The first byte of every batch link's key.
pub(super) const BATCHES: &[u8] = b"b";
/// The first key past every place.
pub(super) const AFTER_PLACES: &[u8] = b"t";

/// Where the horizon lies.
pub(super) const HORIZON: &[u8] = b"h";
/// The first byte of every archive's key.
pub(super) const ARCHIVES: &[u8] = b"a";
/// The first byte of every seal's key.
pub(super) const SEALS: &[u8] = b"z";
/// The first key past every seal.
pub(super) const AFTER_SEALS: &[u8] = b"{";

/// Where a stream's record lies, and its link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) offset: Offset,
    pub(super) hash: Hash,
}

pub(super) fn record(offset: Offset) -> [u8; 9] {
    numbered(RECORDS, offset)
}

pub(super) fn batch(first: Offset) -> [u8; 9] {
    numbered(BATCHES, first)
}

pub(super) fn archive(first: Offset) -> [u8; 9] {
    numbered(ARCHIVES, first)
}

/// The key of a stream's seal.
pub(super) fn seal(stream: &StreamId) -> Vec<u8> {
    named(SEALS, stream)
}

fn numbered(prefix: &[u8], number: u64) -> [u8; 9] {
    let mut key = [0; 9];
    let bytes = prefix.iter().copied().chain(number.to_be_bytes());
    key.iter_mut()
        .zip(bytes)
        .for_each(|(slot, byte)| *slot = byte);
    key
}

/// The number at the end of a key.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|bytes| u64::from_be_bytes(*bytes))
}

/// The front of every place's key of a stream. Ids are visible ASCII, so that NUL ends them.
pub(super) fn stream(stream: &StreamId) -> Vec<u8> {
    named(PLACES, stream)
}

fn named(prefix: &[u8], stream: &StreamId) -> Vec<u8> {
    let mut key = prefix.to_vec();
    key.extend_from_slice(stream.to_string().as_bytes());
    key.push(0);
    key
}

pub(super) fn place(id: &StreamId, seq: u64) -> Vec<u8> {
    let mut key = stream(id);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// The stream and sequence of a place's key.
pub(super) fn stream_of(key: &[u8]) -> Result<(StreamId, u64), JournalError> {
    let parts = || {
        let (rest, seq) = key.split_last_chunk::<8>()?;
        let text = rest.strip_prefix(PLACES)?.strip_suffix(&[0])?;
        let stream = std::str::from_utf8(text).ok()?.parse().ok()?;
        Some((stream, u64::from_be_bytes(*seq)))
    };
    parts().ok_or_else(|| damaged(key, "no stream has such a key"))
}

impl Place {
    pub(super) fn to_value(self, key: &[u8]) -> Vec<u8> {
        sealed(key, &[&self.offset.to_be_bytes(), &self.hash.0])
    }

    pub(super) fn of_value(key: &[u8], value: &[u8]) -> Result<Self, JournalError> {
        let [offset, hash @ ..] = unsealed::<5>(key, value)?;
        Ok(Self {
            offset: u64::from_be_bytes(offset),
            hash: hash_of(hash),
        })
    }
}

/// The value of a batch link under its key.
pub(super) fn link_value(link: &BatchLink, key: &[u8]) -> Vec<u8> {
    let (first, last) = (link.first.to_be_bytes(), link.last.to_be_bytes());
    sealed(key, &[&first, &last, &link.prev.0, &link.hash.0])
}

/// The batch link of a value.
pub(super) fn link_of(key: &[u8], value: &[u8]) -> Result<BatchLink, JournalError> {
    let [first, last, a, b, c, d, hash @ ..] = unsealed::<10>(key, value)?;
    Ok(BatchLink {
        first: u64::from_be_bytes(first),
        last: u64::from_be_bytes(last),
        prev: hash_of([a, b, c, d]),
        hash: hash_of(hash),
    })
}

pub(super) fn seal_value(seal: &Seal, key: &[u8]) -> Result<Vec<u8>, JournalError> {
    Ok(sealed(key, &[&seals::encode_seal(seal)?]))
}

pub(super) fn seal_of(key: &[u8], value: &[u8]) -> Result<Seal, JournalError> {
    let text = key
        .strip_prefix(SEALS)
        .and_then(|key| key.strip_suffix(&[0]));
    let stream = text.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    let stream = stream.ok_or_else(|| damaged(key, "no stream has such a key"))?;
    seals::decode_seal(stream, body(key, value)?).map_err(|e| unreadable(key, e))
}

pub(super) fn horizon_value(horizon: &Horizon) -> Result<Vec<u8>, JournalError> {
    Ok(sealed(HORIZON, &[&seals::encode_horizon(horizon)?]))
}

/// The horizon of a value, without its archives, and how many those are.
pub(super) fn horizon_of(value: &[u8]) -> Result<(Horizon, u64), JournalError> {
    seals::decode_horizon(body(HORIZON, value)?).map_err(|e| unreadable(HORIZON, e))
}

pub(super) fn archive_value(archive: &Archive, key: &[u8]) -> Result<Vec<u8>, JournalError> {
    Ok(sealed(key, &[&seals::encode_archive(archive)?]))
}

pub(super) fn archive_of(key: &[u8], value: &[u8]) -> Result<Archive, JournalError> {
    seals::decode_archive(body(key, value)?).map_err(|e| unreadable(key, e))
}

fn unreadable(key: &[u8], error: Unreadable) -> JournalError {
    match error {
        Unreadable::Damaged(why) => damaged(key, &why),
        Unreadable::Newer { found, known } => JournalError::Newer {
            what: place_of(key),
            found,
            known,
        },
    }
}

fn hash_of(words: [[u8; 8]; 4]) -> Hash {
    let mut hash = Hash::default();
    hash.0
        .iter_mut()
        .zip(words.into_iter().flatten())
        .for_each(|(slot, byte)| *slot = byte);
    hash
}

fn sealed(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut value = parts.concat();
    let crc = crc32c::crc32c_append(crc32c::crc32c(key), &value);
    value.extend_from_slice(&crc.to_be_bytes());
    value
}

/// A value without its checksum, which matches.
fn body<'a>(key: &[u8], value: &'a [u8]) -> Result<&'a [u8], JournalError> {
    let (body, crc) = value
        .split_last_chunk()
        .ok_or_else(|| damaged(key, "it is cut off"))?;
    if crc32c::crc32c_append(crc32c::crc32c(key), body) == u32::from_be_bytes(*crc) {
        Ok(body)
    } else {
        Err(damaged(key, "its checksum does not match"))
    }
}

/// The `N` words of eight bytes that a value is made of.
fn unsealed<const N: usize>(key: &[u8], value: &[u8]) -> Result<[[u8; 8]; N], JournalError> {
    let (words, _) = body(key, value)?.as_chunks::<8>();
    words
        .try_into()
        .map_err(|_| damaged(key, "it has another length"))
}

/// An entry other than a record that cannot be believed.
pub(super) fn damaged(key: &[u8], why: &str) -> JournalError {
    JournalError::Damaged {
        place: place_of(key),
        why: why.to_owned(),
    }
}

fn place_of(key: &[u8]) -> String {
    if key == HORIZON {
        return "the horizon".to_owned();
    }
    if let Some(stream) = key.strip_prefix(SEALS).and_then(|k| k.strip_suffix(&[0])) {
        return format!("the seal of {}", String::from_utf8_lossy(stream));
    }
    match stream_of_readable(key) {
        Some((stream, seq)) => format!("the index of {stream} #{seq}"),
        None => format!("the key {}", key.escape_ascii()),
    }
}

fn stream_of_readable(key: &[u8]) -> Option<(String, u64)> {
    let (rest, seq) = key.split_last_chunk::<8>()?;
    let text = rest.strip_prefix(PLACES)?.strip_suffix(&[0])?;
    Some((
        String::from_utf8_lossy(text).into_owned(),
        u64::from_be_bytes(*seq),
    ))
}

/// What an entry of a compacted journal says, and the value it would be written with now.
#[cfg(test)]
pub(crate) struct SealsAndHorizon {
    pub(crate) again: Vec<u8>,
    pub(crate) seal: Option<Seal>,
}

/// Reads and writes an entry of a compacted journal that is no record.
#[cfg(test)]
pub(crate) fn seals_and_horizon(key: &[u8], value: &[u8]) -> Result<SealsAndHorizon, JournalError> {
    if key.starts_with(SEALS) {
        let seal = seal_of(key, value)?;
        let again = seal_value(&seal, key)?;
        let seal = Some(seal);
        return Ok(SealsAndHorizon { again, seal });
    }
    let again = if key == HORIZON {
        let (mut horizon, archives) = horizon_of(value)?;
        let archive = Archive {
            first: 0,
            end: 0,
            link: Hash::default(),
            sha256: Hash::default(),
            len: 0,
        };
        horizon.archives =
            std::iter::repeat_n(archive, usize::try_from(archives).unwrap_or(0)).collect();
        horizon_value(&horizon)?
    } else {
        archive_value(&archive_of(key, value)?, key)?
    };
    Ok(SealsAndHorizon { again, seal: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntityId, Name};

    #[test]
    fn keys_sort_as_their_numbers_and_read_back() {
        assert!(record(255) < record(256));
        assert!(record(u64::MAX).as_slice() < AFTER_RECORDS);
        assert!(batch(u64::MAX).as_slice() < AFTER_BATCHES);
        let id = StreamId::Entity(EntityId::new(Name::of("vsi"), "a/b").unwrap());
        assert_eq!(stream_of(&place(&id, 7)), Ok((id, 7)));
    }

    #[test]
    fn a_flipped_bit_in_key_or_value_is_found() {
        let place = Place {
            offset: 5,
            hash: Hash::of(b"x"),
        };
        let (key, other) = (record(1), record(2));
        let mut value = place.to_value(&key);
        assert_eq!(Place::of_value(&key, &value), Ok(place));
        assert!(Place::of_value(&other, &value).is_err());
        value[3] ^= 4;
        assert!(Place::of_value(&key, &value).is_err());
    }
}
