//! Violations: what can be wrong with a journal, and where.

use std::fmt;

use crate::{
    journal::{Offset, Stored},
    model::StreamId,
};

/// The kind of a violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// A record or link differs from what was written.
    Changed,
    /// Something that was written is missing.
    Missing,
    /// Something is not where it was written.
    Reordered,
    /// The journal lacks what an audit anchor stored elsewhere says it held.
    RolledBack,
    /// The signature of an audit anchor or a base is missing or invalid.
    Signature,
    /// Events were lost, and a repair continued the journal after them.
    Lost,
    /// The log is damaged and has not been repaired.
    Damaged,
    /// Events were removed, and no base covers them.
    Uncovered,
}

impl Flaw {
    /// The documented code.
    pub fn code(self) -> &'static str {
        match self {
            Self::Changed => "VSI0901",
            Self::Missing => "VSI0902",
            Self::Reordered => "VSI0903",
            Self::RolledBack => "VSI0904",
            Self::Signature => "VSI0905",
            Self::Lost => "VSI0910",
            Self::Damaged => "VSI0911",
            Self::Uncovered => "VSI0912",
        }
    }

    /// What the user can do.
    pub fn remedy(self) -> &'static str {
        match self {
            Self::Changed | Self::Missing | Self::Reordered => {
                "keep a copy of the state directory as evidence, then restore a backup or rebuild \
                 the journal from an export that verifies"
            }
            Self::RolledBack => {
                "use the state directory that the head came from, or restore its newest \
                 backup; find out who replaced it"
            }
            Self::Signature => {
                "check that the signature and the public key belong together and come from whom \
                 you trust"
            }
            Self::Lost => {
                "a backup or an export from before the loss may hold the events; nothing brings \
                 them back here"
            }
            Self::Damaged => {
                "`vsiflow journal repair` says what can be had, with a backup by `--from FILE`, and mends \
                 the log; commands that only read go on meanwhile"
            }
            Self::Uncovered => "put the archive back into `archive/` of the state directory",
        }
    }
}

/// One violation, and its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The kind of violation.
    pub flaw: Flaw,
    /// The stream, if it is known.
    pub stream: Option<StreamId>,
    /// The sequence in the stream, if it is known.
    pub seq: Option<u64>,
    /// The offset in the journal, if it is known.
    pub offset: Option<Offset>,
    /// What is wrong.
    pub what: String,
}

impl Violation {
    pub(crate) fn of(flaw: Flaw, what: impl Into<String>) -> Self {
        let (stream, seq, offset, what) = (None, None, None, what.into());
        Self {
            flaw,
            stream,
            seq,
            offset,
            what,
        }
    }

    pub(crate) fn at(mut self, offset: Offset) -> Self {
        self.offset = Some(offset);
        self
    }

    pub(crate) fn in_stream(mut self, stream: StreamId, seq: u64) -> Self {
        (self.stream, self.seq) = (Some(stream), Some(seq));
        self
    }

    pub(crate) fn of_record(flaw: Flaw, record: &Stored, what: impl Into<String>) -> Self {
        let violation = Self::of(flaw, what).at(record.offset);
        violation.in_stream(record.stream.clone(), record.seq)
    }

    /// Stream, sequence and offset as far as they are known; empty if nothing is known.
    pub fn place(&self) -> String {
        let seq = self.seq.map(|seq| format!(" #{seq}")).unwrap_or_default();
        match (&self.stream, self.offset) {
            (Some(stream), Some(offset)) => format!("{stream}{seq} (offset {offset})"),
            (Some(stream), None) => format!("{stream}{seq}"),
            (None, Some(offset)) => format!("offset {offset}"),
            (None, None) => String::new(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place() {
            place if place.is_empty() => f.write_str(&self.what),
            place => write!(f, "{place}: {}", self.what),
        }
    }
}
