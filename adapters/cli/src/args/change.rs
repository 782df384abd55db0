//! Changes and power.

use std::time::Duration;

use clap::Args;
use vsiflow_workflows::fleet::ShutdownPolicy;

use super::{OutputFormat, Sources, WaitArgs, duration};

#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// What becomes of what a directory has no document of any more.
#[derive(Clone, Debug, Args)]
pub(crate) struct PruneArgs {
    /// Delete what was applied from this same directory before and has no document in it any more;
    /// data disks by their `deletionPolicy`. `-f` names that one directory.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Delete nothing, and apply nothing, where that would be more than so many.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "prune")]
    pub(crate) prune_limit: usize,
}

/// Several VSIs.
#[derive(Clone, Debug, Args)]
pub(crate) struct Targets {
    /// The VSIs, as `NAME` or `vsi/NAME`.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// A power command that brings no guest down.
#[derive(Clone, Debug, Args)]
pub(crate) struct PowerArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `pause` and `unpause`: of VSIs, or of vsiflow itself.
#[derive(Clone, Debug, Args)]
pub(crate) struct PauseArgs {
    /// The VSIs, as `NAME` or `vsi/NAME`.
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// No guest is touched: vsiflow begins no step on any host from now on, over restarts, until
    /// `unpause --all`. What is under way ends; what is asked for is recorded.
    #[arg(long, conflicts_with_all = ["names", "namespace", "wait", "timeout"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// How long a command stays whose `--timeout` is the guests'.
#[derive(Clone, Debug, Args)]
pub(crate) struct BoundArgs {
    /// Give up waiting after this long, such as `90s` or `10m` (exit code 5); the work goes on at
    /// the next start.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) wait_timeout: Option<Duration>,
}

/// A power command that brings guests down.
#[derive(Clone, Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// Return only when the outcome is decided.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    bound: BoundArgs,
    #[command(flatten)]
    pub(crate) grace: GraceArgs,
}

impl StopArgs {
    /// How long it stays.
    pub(crate) fn wait(&self) -> WaitArgs {
        WaitArgs {
            wait: self.wait,
            timeout: self.bound.wait_timeout,
        }
    }
}

/// How guests are brought down.
#[derive(Clone, Debug, Args)]
pub(crate) struct GraceArgs {
    /// How long a guest gets to shut down before it is ended, such as `30s` or `5m`
    /// [default: 60s].
    #[arg(long, visible_alias = "timeout", value_name = "DURATION", value_parser = duration)]
    grace_period: Option<Duration>,
    /// End guests at once, and wait for nothing that is under way.
    #[arg(long, conflicts_with = "grace_period")]
    force: bool,
}

impl GraceArgs {
    /// As the fleet takes it.
    pub(crate) fn gracefully(&self) -> ShutdownPolicy {
        ShutdownPolicy {
            timeout_s: self.grace_period.map(|grace| grace.as_secs().max(1)),
            force: self.force,
        }
    }
}
