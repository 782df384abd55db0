//! Arguments of commands that change VSIs and their power state.

use std::time::Duration;

use clap::Args;
use vsiflow_workflows::fleet::ShutdownPolicy;

use super::{DestroyArgs, OutputFormat, Selection, Sources, WaitArgs, duration};

#[derive(Clone, Debug, Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// Several VSIs, by their names or by what they are like.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Targets {
    /// The VSIs, as `NAME` or `vsi/NAME`.
    #[arg(
        required_unless_present_any = ["labels", "field_selector", "all"],
        conflicts_with_all = ["labels", "field_selector", "all"],
        value_name = "NAME"
    )]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// All VSIs of the namespace.
    #[arg(long)]
    pub(crate) all: bool,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ApproveArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// Approve this change and no other: the `id` of `status.proposal` of a VSI, or `UID.REVISION.PROPOSED-REVISION` of a
    /// pool. Where something else waits by then, nothing is approved (VSI0840).
    #[arg(long, value_name = "ID", conflicts_with_all = ["labels", "field_selector", "all"])]
    pub(crate) proposal: Option<String>,
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

/// `rebuild`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// Delete the present boot disk before the new one is made, for a pool without room for both. A
    /// failure or a cancellation in the middle leaves the VSI without a boot disk.
    #[arg(long)]
    pub(crate) in_place: bool,
    #[command(flatten)]
    pub(crate) destroy: DestroyArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `pause` and `unpause`: of VSIs, or of vsiflow itself.
#[derive(Clone, Debug, Args)]
pub(crate) struct PauseArgs {
    /// The VSIs, as `NAME` or `vsi/NAME`.
    #[arg(
        required_unless_present_any = ["all", "labels", "field_selector"],
        conflicts_with_all = ["labels", "field_selector"],
        value_name = "NAME"
    )]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Start no step on any host, also after restarts, until `unpause --all`. Steps in progress
    /// end, requests are recorded, guests are not touched.
    #[arg(long, conflicts_with_all = ["names", "labels", "field_selector", "namespace", "wait", "timeout"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// How long a command stays whose `--timeout` is the guests'.
#[derive(Clone, Debug, Args)]
pub(crate) struct BoundArgs {
    /// Stop waiting after this time, such as `90s` or `10m` (exit code 5). The work continues at
    /// the next start.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) wait_timeout: Option<Duration>,
}

/// A power command that brings guests down.
#[derive(Clone, Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) targets: Targets,
    /// Wait until the outcome is decided.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    bound: BoundArgs,
    #[command(flatten)]
    pub(crate) grace: GraceArgs,
}

impl StopArgs {
    /// How long the command waits.
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
    /// The time a guest has to shut down before vsiflow ends it, such as `30s` or `5m`
    /// [default: 60s].
    #[arg(long, visible_alias = "timeout", value_name = "DURATION", value_parser = duration)]
    grace_period: Option<Duration>,
    /// End guests immediately, without waiting for work in progress.
    #[arg(long, conflicts_with = "grace_period")]
    force: bool,
}

impl GraceArgs {
    /// The policy in the fleet's terms.
    pub(crate) fn gracefully(&self) -> ShutdownPolicy {
        ShutdownPolicy {
            timeout_s: self.grace_period.map(|grace| grace.as_secs().max(1)),
            force: self.force,
        }
    }
}
