//! Why an index is not used.

use std::{fmt, io};

use super::Offset;
use crate::journal::stored::Unreadable;

/// Why the states of an index are folded from the log instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::journal) enum Unusable {
    /// There is no index, or nothing was written to it yet.
    Absent,
    /// Another process uses it.
    InUse,
    /// There is a marker, and no process is opening the index: an earlier opening did not finish.
    LeftOpening,
    /// The machine has restarted since it was written.
    Restarted,
    /// It was written with another fold version, or with a later format.
    OtherFold(u32),
    /// The newest update was not written completely.
    Unfinished,
    /// Its files cannot be read or synced, or sled cannot open it.
    Failed(String),
    /// The disk is full or may not be written.
    Unwritable(String),
    /// Sled panicked.
    Panicked(String),
    /// Sled did not finish in time.
    Hung,
    /// It does not contain what was written.
    Damaged(String),
    /// The log has no batch that ends at its offset, with the same link.
    Misfit(Offset),
}

impl Unusable {
    /// Whether it should be logged: not if there was no index, or if another process uses it.
    pub(in crate::journal) fn is_worth_noting(&self) -> bool {
        !matches!(self, Self::Absent | Self::InUse)
    }

    /// Whether the existing index may still be good, so that it must not be replaced.
    pub(super) fn blames_the_disk(&self) -> bool {
        matches!(self, Self::Unwritable(_) | Self::InUse)
    }

    /// Whether opening it again could also end or block another process.
    pub(super) fn is_dangerous(&self) -> bool {
        matches!(self, Self::Panicked(_) | Self::Hung)
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("there is none"),
            Self::InUse => f.write_str("another process works with it"),
            Self::LeftOpening => f.write_str("a process ended while it opened it"),
            Self::Restarted => f.write_str("the machine has restarted since it was written"),
            Self::OtherFold(found) => {
                write!(
                    f,
                    "another version of this program wrote it (states {found})"
                )
            }
            Self::Unfinished => f.write_str("its newest update was not written to the end"),
            Self::Failed(why) => write!(f, "it cannot be opened: {why}"),
            Self::Unwritable(why) => write!(f, "its disk cannot be written: {why}"),
            Self::Panicked(why) => write!(f, "sled panicked at it: {why}"),
            Self::Hung => f.write_str("opening it did not finish"),
            Self::Damaged(why) => write!(f, "it is damaged: {why}"),
            Self::Misfit(as_of) => {
                write!(f, "it is as of offset {as_of}, where the log does not fit")
            }
        }
    }
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{
            NotFound, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        };
        match error.kind() {
            NotFound => Self::Absent,
            PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull => {
                Self::Unwritable(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl From<sled::Error> for Unusable {
    fn from(error: sled::Error) -> Self {
        match error {
            // A missing file inside an index does not mean that there is no index.
            sled::Error::Io(e) if e.kind() == io::ErrorKind::NotFound => {
                Self::Failed(e.to_string())
            }
            sled::Error::Io(e) => e.into(),
            sled::Error::Corruption { .. } => Self::Damaged(error.to_string()),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<Unreadable> for Unusable {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Newer { found, .. } => Self::OtherFold(found),
            Unreadable::Damaged(why) => Self::Damaged(why),
        }
    }
}
