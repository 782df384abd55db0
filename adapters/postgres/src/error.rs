//! What can go wrong between here and the database, and what to do about it.

use std::{error::Error as _, time::Duration};

use tokio_postgres::error::SqlState;
use vsiflow_engine::journal::JournalError;

use crate::tls;

/// Why a journal on PostgreSQL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresError {
    /// The address is no address of a journal, or says what must not be said there.
    #[error("the address of the journal: {0}")]
    Address(String),
    /// No connection could be made, or it broke.
    #[error("{server} does not answer: {why}")]
    Unreachable {
        /// Which server.
        server: String,
        /// What happened.
        why: String,
    },
    /// The server does not show that it is the one that is meant, or speaks no TLS.
    #[error("{server} is not trusted: {why}")]
    Untrusted {
        /// Which server.
        server: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// The server refused.
    #[error("{server} refuses: {why}")]
    Refused {
        /// Which server.
        server: String,
        /// What it said.
        why: String,
    },
    /// Another process has the right to write.
    #[error("the journal is held by {holder}; its lease ends in {} s unless it is renewed", left.as_secs().saturating_add(1))]
    InUse {
        /// Who.
        holder: String,
        /// How long its lease lasts by the database's clock.
        left: Duration,
    },
    /// There is no such journal in the database, or only half of one.
    #[error("{server} has no journal {name}{}", if *.half { " that is whole: its rebuild was interrupted" } else { "" })]
    Missing {
        /// Which server.
        server: String,
        /// The journal's name.
        name: String,
        /// A rebuild of it began and did not end.
        half: bool,
    },
    /// More than one server of the address can be written: their histories part.
    #[error("{} accept writes: only one of them has the journal's newest events", servers.join(" and "))]
    Parted {
        /// Each, and what tells which was promoted last.
        servers: Vec<String>,
    },
    /// The tables were made by a newer version.
    #[error("{server} has tables of format {found}; this version reads up to {known}")]
    Newer {
        /// Which server.
        server: String,
        /// The format found.
        found: i32,
        /// The newest known here.
        known: i32,
    },
    /// The key that secrets are sealed with cannot be used.
    #[error("the key of the journal's secrets: {0}")]
    Key(String),
    /// The journal was there already.
    #[error("{server} has a journal {name} already: it is not overwritten")]
    Exists {
        /// Which server.
        server: String,
        /// The journal's name.
        name: String,
    },
}

impl PostgresError {
    /// The documented code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Address(_) => "VSI0830",
            Self::Unreachable { .. } => "VSI0831",
            Self::Refused { .. } => "VSI0832",
            Self::InUse { .. } => "VSI0833",
            Self::Missing { .. } | Self::Exists { .. } => "VSI0834",
            Self::Parted { .. } => "VSI0838",
            Self::Untrusted { .. } => "VSI0839",
            Self::Newer { .. } => "VSI0003",
            Self::Key(_) => "VSI0835",
        }
    }

    /// What the user can do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Address(_) => {
                "write postgres://USER@HOST/DATABASE, with the password in PGPASSFILE or PGPASSWORD; see \
                 `docs/reference/postgres.md`"
            }
            Self::Unreachable { .. } => "check that the server runs and can be reached from here",
            Self::Untrusted { .. } => {
                "name the authority of its certificate with sslrootcert=FILE, and the server as the certificate does"
            }
            Self::Refused { .. } => "check the user, its password and its rights in the database",
            Self::InUse { .. } => {
                "ask that process's daemon with --server, or end it; a standby waits with `serve`"
            }
            Self::Missing { .. } => {
                "name the journal with ?journal=NAME; the first command that records something makes it"
            }
            Self::Exists { .. } => "name another one with ?journal=NAME",
            Self::Parted { .. } => {
                "end the one with the lower timeline, and make it a standby of the other"
            }
            Self::Newer { .. } => "use the version that wrote it, or a newer one",
            Self::Key(_) => {
                "make one with `age-keygen -o FILE` and name it with --journal-key FILE"
            }
        }
    }

    pub(crate) fn of(server: &str, error: &tokio_postgres::Error) -> Self {
        let (server, why) = (server.to_owned(), error_text(error));
        if let Some(distrust) = tls::distrusted(error) {
            return Self::Untrusted {
                server,
                why: distrust,
            };
        }
        match error.as_db_error() {
            Some(error) if !is_passing(error.code()) => Self::Refused { server, why },
            _ => Self::Unreachable { server, why },
        }
    }

    /// Whether a later try may end in another way without a change of what was asked.
    pub(crate) fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::InUse { .. } | Self::Unreachable { .. } | Self::Parted { .. }
        )
    }

    pub(crate) fn late(server: &str) -> Self {
        let why = "it did not answer in time".to_owned();
        Self::Unreachable {
            server: server.to_owned(),
            why,
        }
    }
}

impl From<PostgresError> for JournalError {
    fn from(error: PostgresError) -> Self {
        Self::Storage(error.to_string())
    }
}

/// Whether the server says that it starts, ends, or has no room just now: classes 08 (connection), 53
/// (resources) and 57 (operator intervention) of its error codes.
fn is_passing(code: &SqlState) -> bool {
    ["08", "53", "57"]
        .iter()
        .any(|class| code.code().starts_with(class))
}

/// An error with its causes: the outermost of this client's says little.
pub(crate) fn error_text(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
