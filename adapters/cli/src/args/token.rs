//! Arguments of `token`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, Subcommand};
use vsiflow_workflows::fleet::TokenRole;

use super::{OutputFormat, duration};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token and print it; nothing stores its text
    #[command(after_help = "Example:\n  vsiflow token create --role operator --ttl 30d")]
    Create(TokenCreateArgs),
    /// List tokens, without what proves them
    #[command(after_help = "Example:\n  vsiflow token list")]
    List(TokenListArgs),
    /// End a token before its time
    #[command(after_help = "Example:\n  vsiflow token revoke 0123456789ab")]
    Revoke {
        /// The token, as `token list` names it.
        name: String,
    },
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TokenCreateArgs {
    /// What its holder may do: `viewer`, `operator` or `admin`.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: TokenRole,
    /// How long it is valid, such as `12h` or `30d`.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) ttl: Duration,
    /// The certificate that `serve --tls-cert` shows [default: the one of the state directory].
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct TokenListArgs {
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}
