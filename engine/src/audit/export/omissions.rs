//! The lines of an export for omissions, and for the bases that cover them.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::super::anchor::hash;
use crate::{
    journal::{
        BatchLink, JournalError, Missing, MissingCause, Offset, States, Stored, StreamHead,
        StreamState, decode_state, encode_state,
    },
    model::Hash,
};

/// A range of offsets that is missing. One line per stream follows, with its head after the range.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MissingLine {
    kind: String,
    from: Offset,
    /// The offset after the last missing one.
    to: Offset,
    /// `removed`, `lost` or `damaged`.
    cause: String,
    /// The link that the next batch continues.
    link: String,
    /// How many stream lines follow.
    pub(super) streams: u64,
}

const CAUSES: [(&str, MissingCause); 3] = [
    ("removed", MissingCause::Removed),
    ("lost", MissingCause::Lost),
    ("damaged", MissingCause::Damaged),
];

impl MissingLine {
    pub(super) fn new(missing: &Missing, link: Hash, streams: usize) -> Self {
        let mut causes = CAUSES.iter();
        let cause = causes.find(|(_, cause)| *cause == missing.cause);
        Self {
            kind: "missing".to_owned(),
            from: missing.from,
            to: missing.to,
            cause: cause.map_or("damaged", |(name, _)| *name).to_owned(),
            link: link.to_string(),
            streams: streams as u64,
        }
    }

    /// The range and the link; `None` if they are malformed.
    pub(super) fn read(&self) -> Option<(Missing, Hash)> {
        let (from, to) = (self.from, self.to);
        let (_, cause) = CAUSES.into_iter().find(|(name, _)| *name == self.cause)?;
        let missing = Missing { from, to, cause };
        Some((missing, hash(&self.link)?)).filter(|_| from < to)
    }
}

/// The head of a stream: its next sequence and its newest hash.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StreamLine {
    kind: String,
    stream: String,
    next_seq: u64,
    hash: String,
}

impl StreamLine {
    pub(super) fn new(head: &StreamHead) -> Self {
        Self {
            kind: "stream".to_owned(),
            stream: head.stream.to_string(),
            next_seq: head.next_seq,
            hash: head.hash.to_string(),
        }
    }

    /// The head; `None` if the line is malformed.
    pub(super) fn read(&self) -> Option<StreamHead> {
        Some(StreamHead {
            stream: self.stream.parse().ok()?,
            next_seq: self.next_seq,
            hash: hash(&self.hash)?,
        })
    }
}

/// A base that covers missing events. One line per state follows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BaseLine {
    kind: String,
    as_of: Offset,
    /// The link that the base is as of.
    first: Offset,
    last: Offset,
    prev: String,
    link: String,
    /// The base's hash, which an event of the journal commits to.
    hash: String,
    /// How many state lines follow.
    pub(super) states: u64,
}

impl BaseLine {
    pub(super) fn new(states: &States, link: &BatchLink, hash: Hash) -> Self {
        Self {
            kind: "base".to_owned(),
            as_of: states.as_of,
            first: link.first,
            last: link.last,
            prev: link.prev.to_string(),
            link: link.hash.to_string(),
            hash: hash.to_string(),
            states: states.streams.len() as u64,
        }
    }

    /// The base without its states, and its hash; `None` if a hash is malformed.
    pub(super) fn read(&self) -> Option<(States, Hash)> {
        let link = BatchLink {
            first: self.first,
            last: self.last,
            prev: hash(&self.prev)?,
            hash: hash(&self.link)?,
        };
        let states = States {
            as_of: self.as_of,
            link: Some(link),
            streams: Vec::new(),
        };
        Some((states, hash(&self.hash)?))
    }
}

/// The state of a stream, computed from its events.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StateLine {
    kind: String,
    stream: String,
    /// The stored bytes in base64.
    state: String,
}

impl StateLine {
    pub(super) fn new(state: &StreamState) -> Result<Self, JournalError> {
        Ok(Self {
            kind: "state".to_owned(),
            stream: state.stream().to_string(),
            state: BASE64_STANDARD.encode(encode_state(state)?),
        })
    }

    /// The state; `None` if the bytes are not base64 or of another stream.
    pub(super) fn read(&self) -> Result<Option<StreamState>, JournalError> {
        let Ok(bytes) = BASE64_STANDARD.decode(&self.state) else {
            return Ok(None);
        };
        let state = decode_state(&bytes)?;
        Ok(Some(state).filter(|state| state.stream().to_string() == self.stream))
    }
}

/// A payload that is lost, although later lines name it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LostBlobLine {
    kind: String,
    hash: String,
    len: u64,
}

impl LostBlobLine {
    pub(super) fn new(hash: Hash, len: u64) -> Self {
        Self {
            kind: "lost_blob".to_owned(),
            hash: hash.to_string(),
            len,
        }
    }

    pub(super) fn read(&self) -> Option<Hash> {
        hash(&self.hash)
    }
}

/// A record that is complete but could not be decoded.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UndecodableLine {
    kind: String,
    offset: Offset,
    stream: String,
    seq: u64,
    prev: String,
    hash: String,
    /// The stored bytes in base64.
    pub(super) record: String,
}

impl UndecodableLine {
    pub(super) fn new(stored: &Stored) -> Self {
        Self {
            kind: "undecodable".to_owned(),
            offset: stored.offset,
            stream: stored.stream.to_string(),
            seq: stored.seq,
            prev: stored.prev.to_string(),
            hash: stored.hash.to_string(),
            record: BASE64_STANDARD.encode(&stored.bytes),
        }
    }
}
