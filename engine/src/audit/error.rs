//! The errors that end an audit, an export or a rebuild early.

use super::Violation;
use crate::{journal::JournalError, state_dir::StateDirError};

/// Why an audit, an export or a rebuild could not continue.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The journal cannot be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The state directory cannot be created.
    #[error(transparent)]
    State(#[from] StateDirError),
    /// The journal to be exported, or the export to be rebuilt, is not sound.
    #[error("{0}")]
    Violation(Violation),
    /// A line of an export is invalid.
    #[error("line {line} of the export: {violation}")]
    Line {
        /// The number of the line, from 1.
        line: u64,
        /// What is wrong with it.
        violation: Violation,
    },
    /// The export has a newer schema than this version reads.
    #[error("the export has schema {found}; this version reads up to {known}")]
    Newer {
        /// The schema found.
        found: u32,
        /// The newest schema that this version reads.
        known: u32,
    },
    /// The export cannot be written or read.
    #[error("the export cannot be {doing}: {why}")]
    Io {
        /// The attempted operation, such as `written`.
        doing: &'static str,
        /// The operating system's error.
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
            Self::Journal(error) if error.is_damage() => "VSI0004",
            Self::Journal(_) | Self::Io { .. } => "VSI0006",
        }
    }

    /// What the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Violation(violation) => violation.flaw.remedy(),
            Self::Line { .. } => "use a complete and unchanged export; nothing was stored",
            Self::State(error) => error.remedy(),
            Self::Newer { .. } | Self::Journal(JournalError::Newer { .. }) => {
                "use the version that wrote it, or a newer one"
            }
            Self::Journal(error) if error.is_damage() => {
                "`vsiflow audit verify` names everything that is damaged"
            }
            Self::Journal(_) | Self::Io { .. } => {
                "see that there is room and that this user may read and write there"
            }
        }
    }
}
