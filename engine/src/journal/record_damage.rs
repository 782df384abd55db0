//! What is wrong with a single record, and where it was looked for.

use std::fmt;

use super::{JournalError, Offset};
use crate::model::StreamId;

/// A record that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordDamage {
    /// Where it was looked for.
    pub place: RecordPlace,
    /// What is wrong with it.
    pub cause: RecordDamageCause,
}

/// Where a record was looked for, as exactly as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordPlace {
    /// The offset. The bytes do not say which stream it is of.
    Offset(Offset),
    /// A position in a stream, through the index of the stream.
    Sequence {
        /// The stream.
        stream: StreamId,
        /// The position in the stream.
        seq: u64,
    },
    /// The position that the record itself claims.
    Claimed {
        /// The stream.
        stream: StreamId,
        /// The position in the stream.
        seq: u64,
        /// The position in the whole journal.
        offset: Offset,
    },
    /// The bytes are those of no position.
    Unknown,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordDamageCause {
    /// Nothing is in its place.
    Missing,
    /// A sound record of this place is in its place.
    Displaced(RecordPlace),
    /// Its bytes are not those that were written; why.
    Altered(String),
}

impl RecordDamage {
    /// A record of which nothing is left.
    pub fn missing(place: RecordPlace) -> JournalError {
        Self::error(place, RecordDamageCause::Missing)
    }

    /// A record in whose place the record of `other` is.
    pub fn displaced(place: RecordPlace, other: RecordPlace) -> JournalError {
        Self::error(place, RecordDamageCause::Displaced(other))
    }

    /// A record whose bytes are not those that were written.
    pub fn altered(place: RecordPlace, why: impl Into<String>) -> JournalError {
        Self::error(place, RecordDamageCause::Altered(why.into()))
    }

    fn error(place: RecordPlace, cause: RecordDamageCause) -> JournalError {
        JournalError::DamagedRecord(Box::new(Self { place, cause }))
    }
}

impl fmt::Display for RecordPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Offset(offset) => write!(f, "offset {offset}"),
            Self::Sequence { stream, seq } => write!(f, "{stream} #{seq}"),
            Self::Claimed {
                stream,
                seq,
                offset,
            } => write!(f, "{stream} #{seq} (offset {offset})"),
            Self::Unknown => f.write_str("an unknown place"),
        }
    }
}

impl fmt::Display for RecordDamageCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("it is missing"),
            Self::Displaced(other) => write!(f, "another record is in its place: {other}"),
            Self::Altered(why) => f.write_str(why),
        }
    }
}
