//! The lines of an export as JSON.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{
    super::{
        AuditAnchor,
        anchor::{hash, time},
    },
    fields::fields,
};
use crate::{
    journal::{BatchLink, JournalError, Offset, Stored},
    model::Hash,
};

/// The schema that this version writes, and the newest that it reads. It also reads schema 1, which
/// has no lines for omissions. Schema 2 was never used for exports.
pub(super) const SCHEMA: u32 = 3;

/// The schema that no export has.
pub(super) const UNUSED: u32 = 2;

/// The record format of the journals this version exports.
const FORMAT: u32 = 1;

/// The longest line, in bytes: a blob in base64.
pub(in crate::audit) const LINE_MAX: usize = 64 << 20;

/// The longest line that holds no blob, in bytes.
pub(super) const SHORT_MAX: usize = 256 << 10;

/// The longest blob that fits a line.
pub(super) const BLOB_MAX: u64 = (LINE_MAX as u64 - 4_096) / 4 * 3;

/// The first line: it describes what follows.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct HeaderLine {
    kind: String,
    /// The schema of the lines.
    pub(super) schema: u32,
    /// The journal's identity.
    pub(crate) journal: String,
    /// The newest format of its records.
    pub(super) format: u32,
    /// The version of the program that wrote the export.
    pub(super) written_by: String,
}

impl HeaderLine {
    pub(super) fn new(journal: &str) -> Self {
        Self {
            kind: "header".to_owned(),
            schema: SCHEMA,
            journal: journal.to_owned(),
            format: FORMAT,
            written_by: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }
}

/// The part of the first line that every version can read.
#[derive(Debug, Deserialize)]
pub(super) struct HeaderOutline {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) schema: u32,
}

/// A payload stored beside the journal; it comes before the event that names it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BlobLine {
    kind: String,
    /// The SHA-256 of the content.
    pub(super) hash: String,
    /// The bytes of the content.
    pub(super) len: u64,
    /// The content in base64.
    pub(super) content: String,
}

impl BlobLine {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self {
            kind: "blob".to_owned(),
            hash: Hash::of(bytes).to_string(),
            len: bytes.len() as u64,
            content: BASE64_STANDARD.encode(bytes),
        }
    }
}

/// An event: readable fields, and the stored record, which is authoritative.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine {
    kind: String,
    pub(super) offset: Offset,
    pub(super) stream: String,
    pub(super) seq: u64,
    pub(super) time: String,
    #[serde(rename = "type")]
    pub(super) name: String,
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) event: Value,
    pub(super) prev: String,
    pub(super) hash: String,
    /// The stored bytes in base64.
    pub(super) record: String,
}

impl EventLine {
    /// The line of a record.
    pub(super) fn new(stored: &Stored) -> Result<Self, JournalError> {
        let event = stored.record()?.event;
        Ok(Self {
            kind: "event".to_owned(),
            offset: stored.offset,
            stream: stored.stream.to_string(),
            seq: stored.seq,
            time: time(event.at),
            name: event.kind.type_name().to_owned(),
            actor: event.actor.to_string(),
            reason: event.reason.to_string(),
            event: fields(&event.kind),
            prev: stored.prev.to_string(),
            hash: stored.hash.to_string(),
            record: BASE64_STANDARD.encode(&stored.bytes),
        })
    }
}

/// The end of a durable batch: the link over the events before it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BatchLine {
    kind: String,
    pub(super) first: Offset,
    pub(super) last: Offset,
    pub(super) prev: String,
    pub(super) hash: String,
}

impl BatchLine {
    pub(super) fn new(link: &BatchLink) -> Self {
        Self {
            kind: "batch".to_owned(),
            first: link.first,
            last: link.last,
            prev: link.prev.to_string(),
            hash: link.hash.to_string(),
        }
    }

    /// The link; `None` if a hash is malformed.
    pub(super) fn link(&self) -> Option<BatchLink> {
        Some(BatchLink {
            first: self.first,
            last: self.last,
            prev: hash(&self.prev)?,
            hash: hash(&self.hash)?,
        })
    }
}

/// The last line: where the journal ended.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeadLine {
    kind: String,
    /// The audit anchor, as `audit verify --head` accepts it.
    pub(super) head: String,
}

impl HeadLine {
    pub(super) fn new(head: &AuditAnchor) -> Self {
        Self {
            kind: "head".to_owned(),
            head: head.to_string(),
        }
    }
}
