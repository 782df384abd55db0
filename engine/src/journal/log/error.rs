//! How failures of the log are told.

use std::io;

use crate::journal::JournalError;

/// A file that cannot be read or written.
pub(super) fn storage(name: &str, error: &io::Error) -> JournalError {
    JournalError::Storage(format!("{name}: {error}"))
}

/// A segment that cannot be read: an archived one may be damaged in what packs it.
pub(super) fn unread(name: &str, error: &io::Error) -> JournalError {
    match error.kind() {
        io::ErrorKind::InvalidData => damaged(name, error.to_string()),
        _ => storage(name, error),
    }
}

/// A file that is not what was written.
pub(super) fn damaged(name: &str, why: impl Into<String>) -> JournalError {
    JournalError::Damaged {
        place: name.to_owned(),
        why: why.into(),
    }
}

/// Why the writer ends: a disk that lies once is not asked again.
pub(super) fn ended(doing: &str, name: &str, error: &io::Error) -> JournalError {
    JournalError::Storage(format!(
        "{name} could not be {doing}: {error}; see to the disk, then start again: what was \
         acknowledged is checked then"
    ))
}
