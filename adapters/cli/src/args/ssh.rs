//! The ways into guests.

use std::path::PathBuf;

use clap::Args;

use super::{Selection, view::Scope};

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
pub(crate) struct SshConfigArgs {
    #[command(flatten)]
    pub(crate) scope: Scope,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// Write the entries of all VSIs to `ssh_config` in the state directory. From then on vsiflow keeps
    /// that file up to date; `Include` it in `~/.ssh/config`.
    #[arg(long, conflicts_with_all = ["labels", "field_selector"])]
    pub(crate) write: bool,
}
