//! Errors of a set of journals, and their remedies.

use crate::PostgresError;

/// Error: an operation on a set of journals failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The database failed.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// The number of journals is not permitted.
    #[error(
        "a set of {requested} journals was asked for; it has 1 to {}",
        super::MAX
    )]
    Many {
        /// The requested number.
        requested: u16,
    },
    /// The set's name looks like the name of another set's journal.
    #[error("the name of a set does not end with a number; {set} may be the name of one")]
    Name {
        /// The name without the number.
        set: String,
    },
    /// The set has a different size.
    #[error("the set has {found} journals, not {requested}: their number never changes")]
    Size {
        /// The requested number of journals.
        requested: u16,
        /// The existing number of journals.
        found: u16,
    },
    /// The name is that of an independent journal.
    #[error("{name} is the name of a single journal")]
    IsJournal {
        /// The name.
        name: String,
    },
    /// A machine or a name belongs to another journal.
    #[error("{what} belongs to journal {journal} of the set")]
    Elsewhere {
        /// The machine or name.
        what: String,
        /// The number of that journal.
        journal: u16,
    },
    /// Too many requests wait, or one is too large.
    #[error("the request is not taken: {why}")]
    Full {
        /// The reason.
        why: String,
    },
    /// A request is too old, or was taken before.
    #[error("a request is refused: {why}")]
    Refused {
        /// The reason.
        why: String,
    },
    /// A request or answer cannot be sealed or opened.
    #[error("a request or its answer cannot be sealed or opened: {why}")]
    Seal {
        /// The reason.
        why: String,
    },
}

impl ShardError {
    /// The documented code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Postgres(error) => error.code(),
            Self::Many { .. } | Self::Size { .. } | Self::Name { .. } | Self::IsJournal { .. } => {
                "VSI0761"
            }
            Self::Elsewhere { .. } => "VSI0765",
            Self::Full { .. } | Self::Refused { .. } => "VSI0766",
            Self::Seal { .. } => "VSI0835",
        }
    }

    /// The remedy for the user.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Postgres(error) => error.remedy(),
            Self::Many { .. } => "say another --journals N: 8 are enough for some thousand hosts",
            Self::Size { .. } => "leave --journals out, or make another set with ?journal=NAME",
            Self::Name { .. } | Self::IsJournal { .. } => {
                "name the set otherwise with ?journal=NAME"
            }
            Self::Elsewhere { .. } => {
                "use the host that has it there, or delete that first; a machine never changes its journal"
            }
            Self::Full { .. } | Self::Refused { .. } => {
                "see that `vsiflow serve --shards auto` runs, then ask again"
            }
            Self::Seal { .. } => "name the same --journal-key FILE everywhere",
        }
    }
}
