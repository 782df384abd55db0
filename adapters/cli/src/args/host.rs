//! Hosts, and what is on them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{Format, WaitArgs};

/// One host.
#[derive(Clone, Debug, Args)]
pub(crate) struct HostArgs {
    /// The host, as `vsiflow get host` names it.
    #[arg(value_name = "HOST", conflicts_with = "files")]
    pub(crate) name: Option<String>,
    /// The host's ConfigMap and Secret; without them, `--host` may name the host.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// List every domain and volume on a host, and whose each is
    Inventory(InventoryArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct InventoryArgs {
    #[command(flatten)]
    pub(crate) at: HostArgs,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The domains, by UUID, name or title; `vsiflow host inventory` lists them.
    #[arg(value_name = "DOMAIN", required = true)]
    pub(crate) domains: Vec<String>,
    /// The host, as `vsiflow get host` names it; it may be left out where only one is known.
    #[arg(long, value_name = "HOST", conflicts_with = "files")]
    pub(crate) on: Option<String>,
    /// The host's ConfigMap and Secret; without them, `--host` may name the host.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
    /// The name that the VSI gets; that of the domain's title, or its UUID, where none is given.
    #[arg(long = "as", value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// The namespace that the VSI gets; that of the domain's title where none is given.
    #[arg(short, long)]
    pub(crate) namespace: Option<String>,
    /// Take a domain that belongs to another journal: nobody works with that one any more.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
