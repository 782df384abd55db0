//! Arguments of commands that log in to guests.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Selection, create::label, view::Scope};

#[derive(Clone, Debug, Args)]
pub(crate) struct SshArgs {
    /// The VSI, as `NAME` or `vsi/NAME`.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// The user in the guest.
    #[arg(short, long, value_name = "USER")]
    pub(crate) login: Option<String>,
    /// The file with your private key.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) identity: Option<PathBuf>,
    /// An option of ssh, as in its configuration file; may be repeated.
    #[arg(short, long = "option", value_name = "OPTION")]
    pub(crate) options: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// What ssh gets after the guest's name, unchanged, such as a command.
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct SshConfigArgs {
    #[command(subcommand)]
    pub(crate) command: Option<SshConfigCommand>,
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Write the entries of all VSIs to `ssh_config` in the state directory. From then on vsiflow keeps
    /// that file up to date; `Include` it in `~/.ssh/config`.
    #[arg(long, conflicts_with_all = ["labels", "field_selector"])]
    pub(crate) write: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SshConfigCommand {
    /// Print ConfigMap and Secret of a host that your ssh knows, for `apply -f` or `kubectl apply -f`
    #[command(
        after_help = "Example:\n  vsiflow ssh-config import lpar1 --name lpar1 --label role=test"
    )]
    Import(SshImportArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SshImportArgs {
    /// The host, as `~/.ssh/config` names it.
    #[arg(value_name = "HOST")]
    pub(crate) host: String,
    /// The name of the documents [default: HOST].
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// A label, which VSIs choose the host by; may be repeated.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label, required = true)]
    pub(crate) labels: Vec<(String, String)>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}
