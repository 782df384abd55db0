//! Arguments of `host`, and of commands on a host.

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
    /// The host's ConfigMap and Secret. Without them, `--host` may name the host.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum HostCommand {
    /// Check whether a host can run VSIs, and say what to repair
    #[command(after_help = "Example:\n  vsiflow host check -f host.yaml --network default")]
    Check(CheckArgs),
    /// Stop placing new VSIs on a host; existing ones continue
    #[command(after_help = "Example:\n  vsiflow host cordon lpar1 --reason firmware")]
    Cordon(CareArgs),
    /// Accept new VSIs on a host again
    #[command(after_help = "Example:\n  vsiflow host uncordon lpar1 --start")]
    Uncordon(UncordonArgs),
    /// Accept the machine that answers now as this host
    #[command(after_help = "Example:\n  vsiflow host accept lpar1")]
    Accept(CareArgs),
    /// Cordon a host and move or shut down its VSIs, for maintenance
    #[command(
        after_help = "Examples:\n  vsiflow host drain lpar1 --move --dry-run\n  vsiflow host drain lpar1 --move --yes --wait\n  vsiflow host drain lpar1 --stop --grace-period 5m"
    )]
    Drain(DrainArgs),
    /// List every domain and volume on a host with its owner
    #[command(after_help = "Example:\n  vsiflow host inventory lpar1 -o json")]
    Inventory(InventoryArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) at: HostArgs,
    /// An architecture of the guests; may be repeated [default: those of the VSIs known there, else
    /// s390x].
    #[arg(long = "arch", value_name = "ARCH")]
    pub(crate) archs: Vec<String>,
    /// A network that must exist; may be repeated.
    #[arg(long = "network", value_name = "NETWORK", default_value = "default")]
    pub(crate) networks: Vec<String>,
    /// The output format.
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
    /// Start the VSIs that `drain` shut down, and wait until they are running.
    #[arg(long)]
    pub(crate) start: bool,
    /// Stop waiting after this time, such as `90s` or `10m` (exit code 5). The work continues at
    /// the next start.
    #[arg(long, visible_alias = super::WAIT_TIMEOUT, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DrainArgs {
    #[command(flatten)]
    pub(crate) host: CareArgs,
    /// Shut the VSIs down; with `--move` those that cannot be moved.
    #[arg(long, required_unless_present = "moves")]
    pub(crate) stop: bool,
    /// Make members of pools on other hosts, as many at a time as `maxUnavailable` permits. A VSI with data
    /// on the host stays, unless its pool's template is `evictable`.
    #[arg(long = "move")]
    pub(crate) moves: bool,
    /// Show what would be moved and what stays, without changing anything.
    #[arg(long, requires = "moves")]
    pub(crate) dry_run: bool,
    /// Do not ask before VSIs are moved.
    #[arg(short, long, requires = "moves")]
    pub(crate) yes: bool,
    /// Wait until all are moved.
    #[arg(long)]
    pub(crate) wait: bool,
    /// The output format of what is moved and what stays.
    #[arg(short, long, value_enum, requires = "moves")]
    pub(crate) output: Option<OutputFormat>,
    #[command(flatten)]
    pub(crate) bound: BoundArgs,
    #[command(flatten)]
    pub(crate) grace: GraceArgs,
}

impl DrainArgs {
    /// Whether the command asks for confirmation.
    pub(crate) fn asks(&self) -> bool {
        self.moves && !self.yes && !self.dry_run
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct InventoryArgs {
    #[command(flatten)]
    pub(crate) at: HostArgs,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct AdoptArgs {
    /// The domains, by UUID, name or title; `vsiflow host inventory` lists them.
    #[arg(value_name = "DOMAIN", required = true)]
    pub(crate) domains: Vec<String>,
    /// The host, as `vsiflow get host` names it [default: the only known host].
    #[arg(long, value_name = "HOST", conflicts_with = "files")]
    pub(crate) on: Option<String>,
    /// The host's ConfigMap and Secret. Without them, `--host` may name the host.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
    /// The name of the VSI [default: from the domain's title, or its UUID].
    #[arg(long = "as", value_name = "NAME", value_parser = name)]
    pub(crate) name: Option<String>,
    /// The namespace of the VSI [default: from the domain's title].
    #[arg(short, long, value_parser = namespace)]
    pub(crate) namespace: Option<String>,
    /// Adopt a domain that belongs to another journal. No process may work with that journal.
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
