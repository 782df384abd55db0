//! The envelope of a stored record.
//!
//! ```text
//! CRC32C of all that follows   4 bytes, big-endian
//! format version               1 byte
//! codec of what follows        1 byte
//! offset, seq, previous link, stream        (codec)
//! event                                     (codec)
//! ```
//!
//! Checksum, version and codec are at the same position in every version. So damage can be
//! distinguished from a newer format: a record counts as newer only if its checksum is correct.

use bincode::{Decode, Encode};

use super::{
    JournalError, Offset, RECORD_MAX, Record, RecordDamage, RecordPlace, chain,
    stored::{self, Mirror, Unreadable, v1},
};
use crate::model::{Event, Hash, StreamId};

/// The newest record format this version reads, and the one it writes.
const FORMAT: u8 = 1;
/// `bincode` 2 in its standard configuration.
const CODEC: u8 = 1;
/// The bytes of the checksum.
const CRC_LEN: usize = 4;

/// A record as it is stored in the journal, byte for byte.
///
/// The chains cover these bytes, an export contains them, and a rebuild writes them back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its position in the whole journal.
    pub offset: Offset,
    /// Its stream.
    pub stream: StreamId,
    /// Its position in the stream, from 0.
    pub seq: u64,
    /// The previous link of its stream's chain; all zero at the stream's first record.
    pub prev: Hash,
    /// Its own link: SHA-256 over `prev`, stream, seq and `bytes`.
    pub hash: Hash,
    /// The stored bytes, envelope included.
    pub bytes: Vec<u8>,
}

/// The stream, sequence and previous link of a record.
pub(super) struct Peeked {
    pub(super) stream: StreamId,
    pub(super) seq: u64,
    pub(super) prev: Hash,
}

/// The fields before the event in a record of format 1.
#[derive(Encode, Decode)]
struct RecordHeader {
    offset: u64,
    seq: u64,
    prev: [u8; 32],
    stream: v1::StreamId,
}

impl Stored {
    /// Reads a record's bytes: checksum, format and header. The event is read by
    /// [`Stored::record`].
    ///
    /// # Errors
    /// [`JournalError::DamagedRecord`] for any flipped bit or missing byte, [`JournalError::Newer`] for
    /// an intact record of a later format.
    pub fn parse(bytes: Vec<u8>) -> Result<Self, JournalError> {
        Self::unseal(bytes).map_err(|(bytes, e)| {
            let claimed = guess(&bytes).map(|(_, place)| place);
            named(e, claimed.unwrap_or(RecordPlace::Unknown))
        })
    }

    /// Like [`Stored::parse`], for bytes that were found at `offset`.
    ///
    /// # Errors
    /// As for [`Stored::parse`], and [`JournalError::DamagedRecord`] for a record of another offset.
    pub fn parse_at(offset: Offset, bytes: Vec<u8>) -> Result<Self, JournalError> {
        let stored = Self::unseal(bytes).map_err(|(bytes, e)| {
            let guess = guess(&bytes).filter(|(claimed, _)| *claimed == offset);
            named(
                e,
                guess.map_or(RecordPlace::Offset(offset), |(_, place)| place),
            )
        })?;
        if stored.offset == offset {
            return Ok(stored);
        }
        Err(RecordDamage::displaced(
            RecordPlace::Offset(offset),
            stored.place(),
        ))
    }

    fn unseal(bytes: Vec<u8>) -> Result<Self, (Vec<u8>, Unreadable)> {
        let header = check(&bytes)
            .and_then(|()| open(&bytes))
            .and_then(|(header, _)| {
                Ok((
                    header.stream.restore()?,
                    header.offset,
                    header.seq,
                    Hash(header.prev),
                ))
            });
        match header {
            Ok((stream, offset, seq, prev)) => {
                let hash = chain::link(prev, &stream, seq, &bytes);
                Ok(Self {
                    offset,
                    stream,
                    seq,
                    prev,
                    hash,
                    bytes,
                })
            }
            Err(e) => Err((bytes, e)),
        }
    }

    /// Reads the event.
    ///
    /// # Errors
    /// As for [`Stored::parse`].
    pub fn record(&self) -> Result<Record, JournalError> {
        let event = self.event().map_err(|e| named(e, self.place()))?;
        Ok(Record {
            offset: self.offset,
            stream: self.stream.clone(),
            seq: self.seq,
            event,
            hash: self.hash,
        })
    }

    fn event(&self) -> Result<Event, Unreadable> {
        let (_, body) = open(&self.bytes)?;
        let (event, rest) = stored::decode::<v1::Event>(body)?;
        if rest.is_empty() {
            event.restore()
        } else {
            Err(damaged("bytes follow the event"))
        }
    }

    /// Stream, sequence and previous link of a record whose bytes are known to be undamaged; none
    /// if this version cannot decode them.
    pub(super) fn peek(bytes: &[u8]) -> Option<Peeked> {
        let (header, _) = open(bytes).ok()?;
        Some(Peeked {
            stream: header.stream.restore().ok()?,
            seq: header.seq,
            prev: Hash(header.prev),
        })
    }

    /// Its position, for errors.
    pub(super) fn place(&self) -> RecordPlace {
        RecordPlace::Claimed {
            stream: self.stream.clone(),
            seq: self.seq,
            offset: self.offset,
        }
    }

    /// Puts an encoded event into its envelope.
    pub(super) fn seal(
        offset: Offset,
        stream: &StreamId,
        seq: u64,
        prev: Hash,
        draft: &RecordDraft,
    ) -> Result<Self, JournalError> {
        let bytes = envelope(offset, stream, seq, prev, &draft.body).map_err(unencodable)?;
        if bytes.len() > RECORD_MAX {
            let (stream, event) = (stream.clone(), draft.event.kind.type_name());
            return Err(JournalError::TooLong {
                stream,
                event,
                len: bytes.len(),
            });
        }
        let hash = chain::link(prev, stream, seq, &bytes);
        Ok(Self {
            offset,
            stream: stream.clone(),
            seq,
            prev,
            hash,
            bytes,
        })
    }
}

/// An event and its encoding, ready for an envelope.
pub(super) struct RecordDraft {
    pub(super) event: Event,
    body: Vec<u8>,
}

impl RecordDraft {
    pub(super) fn new(event: Event) -> Result<Self, JournalError> {
        let mut body = Vec::with_capacity(256);
        stored::encode(v1::Event::store(&event), &mut body).map_err(unencodable)?;
        Ok(Self { event, body })
    }

    /// Its length without the envelope, in bytes.
    pub(super) fn len(&self) -> usize {
        self.body.len()
    }
}

fn unencodable(error: bincode::error::EncodeError) -> JournalError {
    JournalError::Storage(format!("an event cannot be encoded: {error}"))
}

fn envelope(
    offset: Offset,
    stream: &StreamId,
    seq: u64,
    prev: Hash,
    body: &[u8],
) -> Result<Vec<u8>, bincode::error::EncodeError> {
    let mut bytes = Vec::with_capacity(body.len().saturating_add(128));
    bytes.extend_from_slice(&[0; CRC_LEN]);
    bytes.extend_from_slice(&[FORMAT, CODEC]);
    let stream = v1::StreamId::store(stream);
    stored::encode(
        RecordHeader {
            offset,
            seq,
            prev: prev.0,
            stream,
        },
        &mut bytes,
    )?;
    bytes.extend_from_slice(body);
    if let Some((crc, rest)) = bytes.split_first_chunk_mut::<CRC_LEN>() {
        *crc = crc32c::crc32c(rest).to_be_bytes();
    }
    Ok(bytes)
}

fn check(bytes: &[u8]) -> Result<(), Unreadable> {
    let (crc, rest) = bytes
        .split_first_chunk::<CRC_LEN>()
        .ok_or_else(|| damaged("cut off"))?;
    if u32::from_be_bytes(*crc) == crc32c::crc32c(rest) {
        Ok(())
    } else {
        Err(damaged("its checksum does not match"))
    }
}

/// The header and the bytes of the event, without checking the checksum.
fn open(bytes: &[u8]) -> Result<(RecordHeader, &[u8]), Unreadable> {
    match bytes.get(CRC_LEN..) {
        Some([FORMAT, CODEC, rest @ ..]) => stored::decode::<RecordHeader>(rest),
        Some([FORMAT, codec, ..]) => Err(Unreadable::Newer {
            found: (*codec).into(),
            known: CODEC.into(),
        }),
        Some([format, _, ..]) if *format > FORMAT => Err(Unreadable::Newer {
            found: (*format).into(),
            known: FORMAT.into(),
        }),
        Some([_, _, ..]) => Err(damaged("no version wrote its format")),
        _ => Err(damaged("cut off")),
    }
}

fn damaged(why: &str) -> Unreadable {
    Unreadable::Damaged(why.to_owned())
}

/// The offset and place that a damaged record claims to have.
fn guess(bytes: &[u8]) -> Option<(Offset, RecordPlace)> {
    let (header, _) = open(bytes).ok()?;
    let claimed = RecordPlace::Claimed {
        stream: header.stream.restore().ok()?,
        seq: header.seq,
        offset: header.offset,
    };
    Some((header.offset, claimed))
}

fn named(error: Unreadable, place: RecordPlace) -> JournalError {
    match error {
        Unreadable::Newer { found, known } => JournalError::Newer {
            what: format!("the record at {place}"),
            found,
            known,
        },
        Unreadable::Damaged(why) => RecordDamage::altered(place, why),
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
