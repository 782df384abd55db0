//! Makes [`JournalError`]s for failures of the log.

use std::io;

use crate::journal::JournalError;

/// The error for a file that cannot be read or written.
pub(super) fn storage(name: &str, error: &io::Error) -> JournalError {
    JournalError::Storage(format!("{name}: {error}"))
}

/// The error for a segment that cannot be read: damage, if the compressed data of an archived segment
/// is invalid.
pub(super) fn unread(name: &str, error: &io::Error) -> JournalError {
    match error.kind() {
        io::ErrorKind::InvalidData => damaged(name, error.to_string()),
        _ => storage(name, error),
    }
}

/// The error for a file that is not what was written.
pub(super) fn damaged(name: &str, why: impl Into<String>) -> JournalError {
    JournalError::Damaged {
        place: name.to_owned(),
        why: why.into(),
    }
}

/// The error that ends the writer after a failed write or sync: it does not try again.
pub(super) fn ended(doing: &str, name: &str, error: &io::Error) -> JournalError {
    JournalError::Storage(format!(
        "{name} could not be {doing}: {error}; see to the disk, then start again: what was \
         acknowledged is checked then"
    ))
}
