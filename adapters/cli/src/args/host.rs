//! Hosts, and what is on them.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vsiflow_workflows::spec::meta::{check_label, check_subdomain};

use super::{
    OutputFormat, WaitArgs,
    change::{BoundArgs, GraceArgs},
    duration,
};

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
    /// Find out whether a host can do the job, and what is to be mended there
    Check(CheckArgs),
    /// Let a host take no new VSIs; what is there goes on
    Cordon(CareArgs),
    /// Let a host take new VSIs again
    Uncordon(UncordonArgs),
    /// Take the machine that answers as a host by now for that host
    Accept(CareArgs),
    /// Cordon a host and shut its VSIs down, for maintenance
    Drain(DrainArgs),
    /// List every domain and volume on a host, and whose each is
    Inventory(InventoryArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) at: HostArgs,
    /// The architecture of the guests.
    #[arg(long, default_value = "s390x")]
    pub(crate) arch: String,
    /// A network that has to be there; may be given several times.
    #[arg(long = "network", value_name = "NETWORK", default_value = "default")]
    pub(crate) networks: Vec<String>,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CareArgs {
    /// The host, as `vsiflow get host` names it.
    #[arg(value_name = "HOST")]
    pub(crate) name: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct UncordonArgs {
    #[command(flatten)]
    pub(crate) host: CareArgs,
    /// Bring the VSIs back that `drain` shut down, and wait until they are.
    #[arg(long)]
    pub(crate) start: bool,
    /// Give up waiting after this long, such as `90s` or `10m` (exit code 5); the work goes on at
    /// the next start.
    #[arg(long, visible_alias = super::WAIT_TIMEOUT, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) host: CareArgs,
    /// Shut the VSIs down: they cannot be moved to another host.
    #[arg(long, required = true)]
    pub(crate) stop: bool,
    #[command(flatten)]
    pub(crate) bound: BoundArgs,
    #[command(flatten)]
    pub(crate) grace: GraceArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct InventoryArgs {
    #[command(flatten)]
    pub(crate) at: HostArgs,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
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
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// The namespace that the VSI gets; that of the domain's title where none is given.
    #[arg(short, long, value_parser = namespace)]
    pub(crate) namespace: Option<String>,
    /// Take a domain that belongs to another journal: nobody works with that one any more.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

fn name(text: &str) -> Result<String, String> {
    check_subdomain(text).map(|()| text.to_owned())
}

fn namespace(text: &str) -> Result<String, String> {
    check_label(text).map(|()| text.to_owned())
}
