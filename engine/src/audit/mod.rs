//! Proves what a journal says: verify it, anchor it, export it, rebuild it.
//!
//! Two chains stand behind it (see [`crate::journal::chain`]): each stream's, and the one of the
//! durable batches. [`Audit::verify`] recomputes both and names everything that was changed,
//! removed, reordered or inserted relative to the newest link. What the newest link itself cannot
//! tell, that the end was cut off or the whole put back to an older copy, is told by a [`Head`]
//! kept elsewhere. [`Audit::export`] writes the journal as JSON Lines with every stored record
//! verbatim, and [`rebuild()`] makes a journal of them again, link for link.
//!
//! Unsigned, all of this guards against accident and outsiders, not against the owner of the
//! disk, who can compute every link anew.
//!
//! What this module never does: it never writes to a journal that it looks at, and no secret
//! goes into an export, since none is in a journal.

mod archive;
mod archiving;
mod batches;
mod below;
mod chain;
mod export;
mod fields;
mod findings;
mod head;
mod indexes;
mod kept;
mod key;
mod line;
mod lines;
mod reading;
mod rebuild;
mod records;
mod streams;
mod taking;
mod verify;

#[cfg(test)]
mod golden;
#[cfg(test)]
pub(crate) mod sample;
#[cfg(test)]
mod tests;

pub use export::Exported;
pub use head::{Head, InvalidHead};
pub use key::{InvalidKey, PublicKey, SigningKey};
pub use rebuild::{Rebuilt, rebuild};
pub use verify::Report;

pub(crate) use batches::Batches;
pub(crate) use fields::payloads;
pub(crate) use lines::{Input, Lines, parse};
pub(crate) use rebuild::{off_runtime, restore_journal};

use std::{fmt, path::Path};

use crate::{
    blob::Blobs,
    journal::{ChainedJournal, JournalError, Offset, Stored},
    model::StreamId,
    state_dir::StateDirError,
};

/// A journal to be proved, with what belongs to it.
#[derive(Clone, Copy)]
pub struct Audit<'a> {
    /// The journal.
    pub journal: &'a dyn ChainedJournal,
    /// The payloads that its events name.
    pub blobs: &'a dyn Blobs,
    /// The journal's identity.
    pub journal_id: &'a str,
    /// The folder of the archives that compaction moved events into, where they are at hand.
    pub archives: Option<&'a Path>,
}

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Flaw {
    /// Something is not what it was when it was written.
    Changed,
    /// Something that was written is gone.
    Missing,
    /// Something stands where it was not written.
    Reordered,
    /// The journal does not hold what a head kept elsewhere says it held.
    RolledBack,
    /// A head is not signed as it should be.
    Signature,
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
                "use the state directory that the head was taken from, or restore its newest \
                 backup; find out who put this one here"
            }
            Self::Signature => {
                "check that the head and the public key belong together and come from whom you \
                 trust"
            }
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What kind of thing.
    pub flaw: Flaw,
    /// The stream, where it is known.
    pub stream: Option<StreamId>,
    /// The place in the stream, where it is known.
    pub seq: Option<u64>,
    /// The place in the journal, where it is known.
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

    /// Stream, sequence and offset as far as they are known; empty where none is.
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

/// Why an audit could not go on.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state directory cannot be made.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// What is to be exported or rebuilt is not sound.
    #[error("{0}")]
    Violation(Violation),
    /// A line of an export is not what it should be.
    #[error("line {line} of the export: {violation}")]
    Line {
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        violation: Violation,
    },
    /// An export of another, newer schema.
    #[error("the export has schema {found}; this version reads up to {known}")]
    Newer {
        /// The schema found.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// The export cannot be written or read.
    #[error("the export cannot be {doing}: {why}")]
    Io {
        /// What was tried, such as `written`.
        doing: &'static str,
        /// What the system said.
        why: String,
    },
}

impl From<Violation> for AuditError {
    fn from(violation: Violation) -> Self {
        Self::Violation(violation)
    }
}

impl AuditError {
    /// The documented code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Violation(violation) | Self::Line { violation, .. } => violation.flaw.code(),
            Self::State(error) => error.code(),
            Self::Newer { .. } | Self::Journal(JournalError::Newer { .. }) => "VSI0003",
            Self::Journal(JournalError::Damaged { .. }) => "VSI0004",
            Self::Journal(_) | Self::Io { .. } => "VSI0006",
        }
    }

    /// What the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.flaw.remedy(),
            Self::Line { .. } => "use an export that is whole and unchanged; nothing was kept",
            Self::State(error) => error.remedy(),
            Self::Newer { .. } | Self::Journal(JournalError::Newer { .. }) => {
                "use the version that wrote it, or a newer one"
            }
            Self::Journal(JournalError::Damaged { .. }) => {
                "`vsiflow audit verify` names everything that is damaged"
            }
            Self::Journal(_) | Self::Io { .. } => {
                "see that there is room and that this user may read and write there"
            }
        }
    }
}
