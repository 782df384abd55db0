//! Changes and power.

use std::time::Duration;

use clap::Args;
use vsiflow_workflows::fleet::Gracefully;

use super::{Format, Sources, WaitArgs, duration};

#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<Format>,
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
    pub(crate) wait: PowerWait,
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
    #[arg(long, conflicts_with_all = ["names", "namespace", "wait"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) wait: PowerWait,
}

/// How long a power command stays.
#[derive(Clone, Debug, Args)]
pub(crate) struct PowerWait {
    /// Return only when the outcome is decided.
    #[arg(long)]
    pub(crate) wait: bool,
}

/// A power command that brings guests down.
#[derive(Clone, Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) wait: PowerWait,
    #[command(flatten)]
    pub(crate) grace: GraceArgs,
}

/// How guests are brought down.
#[derive(Clone, Debug, Args)]
pub(crate) struct GraceArgs {
    /// How long a guest gets to shut down before it is ended, such as `30s` or `5m`
    /// [default: 60s].
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<Duration>,
    /// End guests at once, and wait for nothing that is under way.
    #[arg(long, conflicts_with = "timeout")]
    force: bool,
}

impl GraceArgs {
    /// As the fleet takes it.
    pub(crate) fn gracefully(&self) -> Gracefully {
        Gracefully {
            timeout_s: self.timeout.map(|timeout| timeout.as_secs().max(1)),
            force: self.force,
        }
    }
}
