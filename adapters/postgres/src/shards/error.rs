//! What can go wrong with a set of journals, and what to do about it.

use crate::PostgresError;

/// Why a set of journals does not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The database.
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    /// A number of journals that no set may have.
    #[error(
        "a set of {requested} journals was asked for; it has 1 to {}",
        super::MOST
    )]
    Many {
        /// How many.
        requested: u16,
    },
    /// The name of a set would be that of one of another's journals.
    #[error("the name of a set does not end with a number; {set} may be the name of one")]
    Name {
        /// What comes before the number.
        set: String,
    },
    /// The set has another size.
    #[error("the set has {found} journals, not {requested}: their number never changes")]
    Size {
        /// How many were asked for.
        requested: u16,
        /// How many there are.
        found: u16,
    },
    /// There is a journal of that name.
    #[error("{name} is the name of a journal by itself")]
    IsJournal {
        /// The name.
        name: String,
    },
    /// A machine or a name belongs to another journal.
    #[error("{what} belongs to journal {journal} of the set")]
    Elsewhere {
        /// What.
        what: String,
        /// Which journal.
        journal: u16,
    },
    /// Too many requests wait, or one is too large.
    #[error("the request is not taken: {why}")]
    Full {
        /// Why.
        why: String,
    },
    /// What was sealed cannot be sealed or opened.
    #[error("a request or its answer cannot be sealed or opened: {why}")]
    Seal {
        /// Why.
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
            Self::Full { .. } => "VSI0766",
            Self::Seal { .. } => "VSI0835",
        }
    }

    /// What the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Postgres(error) => error.remedy(),
            Self::Many { .. } => "say another --journals N: 8 are enough for some thousand hosts",
            Self::Size { .. } => "leave --journals out, or make another set with ?journal=NAME",
            Self::Name { .. } | Self::IsJournal { .. } => {
                "name the set otherwise with ?journal=NAME"
            }
            Self::Elsewhere { .. } => {
                "use what has it there, or delete that first; a machine stays with its journal for good"
            }
            Self::Full { .. } => "see that `vsiflow serve --shards auto` runs, then ask again",
            Self::Seal { .. } => "name the same --journal-key FILE everywhere",
        }
    }
}
