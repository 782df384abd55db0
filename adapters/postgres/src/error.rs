//! Errors of the database, and their remedies.

use std::{error::Error as _, time::Duration};

use tokio_postgres::error::SqlState;
use vsiflow_engine::journal::JournalError;

use crate::tls;

/// Error: a journal on PostgreSQL cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PostgresError {
    /// The address is invalid, or contains something that it must not.
    #[error("the address of the journal: {0}")]
    Address(String),
    /// The connection failed or broke.
    #[error("{server} does not answer: {why}")]
    Unreachable {
        /// The server.
        server: String,
        /// What happened.
        why: String,
    },
    /// The server's certificate cannot be verified, or it does not offer TLS.
    #[error("{server} is not trusted: {why}")]
    Untrusted {
        /// The server.
        server: String,
        /// What is wrong with its certificate.
        why: String,
    },
    /// The server refused the request.
    #[error("{server} refuses: {why}")]
    Refused {
        /// The server.
        server: String,
        /// Its error message.
        why: String,
    },
    /// Another process holds the lease.
    #[error("the journal is held by {holder}; its lease ends in {} s unless it is renewed", left.as_secs().saturating_add(1))]
    InUse {
        /// The holder.
        holder: String,
        /// The remaining time of its lease, by the database's clock.
        left: Duration,
    },
    /// The database does not have the journal, or only an incomplete one.
    #[error("{server} has no journal {name}{}", if *.half { " that is whole: its rebuild was interrupted" } else { "" })]
    Missing {
        /// The server.
        server: String,
        /// The journal's name.
        name: String,
        /// Whether a rebuild of it started and did not complete.
        half: bool,
    },
    /// More than one server of the address accepts writes: their histories diverge.
    #[error("{} accept writes: only one of them has the journal's newest events", servers.join(" and "))]
    Parted {
        /// Each server with its timeline, which shows which one was promoted last.
        servers: Vec<String>,
    },
    /// A newer version created the tables.
    #[error("{server} has tables of format {found}; this version reads up to {known}")]
    Newer {
        /// The server.
        server: String,
        /// The format found.
        found: i32,
        /// The newest format that this version knows.
        known: i32,
    },
    /// The key that secrets are sealed with cannot be used.
    #[error("the key of the journal's secrets: {0}")]
    Key(String),
    /// The journal exists already.
    #[error("{server} has a journal {name} already: it is not overwritten")]
    Exists {
        /// The server.
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

    /// The remedy for the user.
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

    /// Whether a retry may succeed without a change to the request.
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

/// Whether the server is starting, ending or out of resources: error classes 08 (connection), 53
/// (resources) and 57 (operator intervention).
fn is_passing(code: &SqlState) -> bool {
    ["08", "53", "57"]
        .iter()
        .any(|class| code.code().starts_with(class))
}

/// An error with its causes: the outermost error of the client library says little.
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
