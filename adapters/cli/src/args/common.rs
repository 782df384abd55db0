//! Options that every command understands.

use std::path::PathBuf;

use clap::Args;
use vsiflow_postgres::{JournalAddress, PostgresError};

use super::values::{Retention, retention};
use crate::{
    exit::{ExitProblem, database_problem},
    membership::{Membership, SetPlace},
};

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// The state directory: journal, checkpoints and secrets
    /// [default: $XDG_STATE_HOME/vsiflow, or /var/lib/vsiflow for root].
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_STATE",
        value_name = "DIR",
        hide_env_values = true
    )]
    pub(crate) state: Option<PathBuf>,
    /// Accept a state directory on a network file system. If such a file system loses a lock
    /// unnoticed, two processes write one journal.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_ALLOW_NETWORK_FILE_SYSTEM",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) allow_network_file_system: bool,
    /// Keep the journal in a PostgreSQL database instead of the state directory:
    /// `postgres://USER@HOST/DATABASE?journal=NAME`. The password comes from PGPASSFILE or PGPASSWORD.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_JOURNAL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub(crate) journal: Option<JournalOption>,
    /// The file of the key that secrets are sealed with before they are kept in the database, as
    /// `age-keygen` makes it.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_JOURNAL_KEY",
        value_name = "FILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) journal_key: Option<PathBuf>,
    /// A program that prints that key, with its arguments, instead of a file: no shell reads it, and
    /// `'…'` or `"…"` holds a word together. It is run once, and has 30 s.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_JOURNAL_KEY_COMMAND",
        value_name = "COMMAND",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) journal_key_command: Option<String>,
    /// The host to use instead of the documents' host settings: `sim:`, `unix:/path` or
    /// `ssh://user@host:port?keyfile=…&known_hosts=…`.
    #[arg(long, global = true, value_name = "URI")]
    pub(crate) host: Option<String>,
    /// A socket for viewers: `serve` answers there, too; any other command asks there, and needs no state
    /// directory. Nothing can be changed through it.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_READ_ONLY",
        value_name = "SOCKET",
        hide_env_values = true
    )]
    pub(crate) read_only: Option<PathBuf>,
    /// Have a server do the command instead of working on a state directory: `unix:///PATH` is
    /// the socket of a `serve` on this machine, `https://HOST:PORT` a `serve --listen` with the
    /// token in VSIFLOW_TOKEN or --token-file.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_SERVER",
        value_name = "URL",
        hide_env_values = true,
        conflicts_with = "read_only"
    )]
    pub(crate) server: Option<Server>,
    /// The file with the token for `--server https://…` [default: the token in VSIFLOW_TOKEN].
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_TOKEN_FILE",
        value_name = "FILE",
        hide_env_values = true,
        hide_short_help = true
    )]
    pub(crate) token_file: Option<PathBuf>,
    /// The reason, stored in the history.
    #[arg(
        long,
        global = true,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) reason: String,
    /// Compress segments of the journal that are older than this, such as `30d`. Their events
    /// stay readable. `never` compresses nothing.
    #[arg(
        long,
        global = true,
        env = "VSIFLOW_RETENTION",
        value_name = "DURATION|never",
        default_value = "30d",
        hide_env_values = true,
        hide_short_help = true,
        value_parser = retention
    )]
    pub(crate) retention: Retention,
    /// This is run for somebody elsewhere: settings of logs in the environment do not count, and
    /// what follows something ends with standard input.
    #[arg(long, global = true, hide = true)]
    pub(crate) remote_caller: bool,
    /// The journal of a set that is meant, where one is.
    #[arg(skip)]
    pub(crate) shard: Option<Membership>,
    /// The set whose journals are all meant, where they are.
    #[arg(skip)]
    pub(crate) set: Option<SetPlace>,
    /// Write more to standard error; twice for everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Write only results and errors.
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// The address of the journal, or its error: clap would print the text in its own errors, and it may hold a
/// password.
#[derive(Clone, Debug)]
pub(crate) struct JournalOption(Result<JournalAddress, PostgresError>);

impl std::str::FromStr for JournalOption {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.parse()))
    }
}

impl From<JournalAddress> for JournalOption {
    fn from(address: JournalAddress) -> Self {
        Self(Ok(address))
    }
}

impl Common {
    /// The database that holds the journal; `None` if the journal is in the state directory.
    ///
    /// # Errors
    /// When the address is invalid.
    pub(crate) fn journal(&self) -> Result<Option<&JournalAddress>, ExitProblem> {
        match &self.journal {
            None => Ok(None),
            Some(JournalOption(Ok(address))) => Ok(Some(address)),
            Some(JournalOption(Err(error))) => Err(database_problem(error.clone())),
        }
    }
}

/// The address of the process that runs a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    /// The process that listens on that socket.
    Unix(PathBuf),
    /// The process that listens on that `HOST:PORT` with TLS.
    Https(String),
}

impl std::str::FromStr for Server {
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        if let Some(address) = url.strip_prefix("https://") {
            let address = address.trim_end_matches('/');
            let port = address
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty());
            return match port.map(|(_, port)| port.parse::<u16>()) {
                Some(Ok(_)) => Ok(Self::Https(address.to_owned())),
                _ => Err("name a daemon as https://HOST:PORT".to_owned()),
            };
        }
        match url.strip_prefix("unix://") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            _ => Err("name a socket as unix:///PATH, or a daemon as https://HOST:PORT".to_owned()),
        }
    }
}
