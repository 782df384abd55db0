//! Arguments of commands on pools and their members.

use clap::{Args, Subcommand};

use super::{ApplyArgs, ObjectKind, WaitArgs, kind_and_names};

/// A pool.
#[derive(Clone, Debug, Args)]
pub(crate) struct PoolArg {
    /// The pool, as `pool/NAME`, `pool NAME` or `NAME`; or a group, as `group/NAME`.
    #[arg(required = true, num_args = 1..=2, value_name = "NAME")]
    words: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

impl PoolArg {
    /// The pool's name.
    pub(crate) fn name(&self) -> String {
        let (_, names) = kind_and_names(&self.words);
        names.into_iter().next().unwrap_or_default()
    }

    /// Whether it names a group.
    pub(crate) fn is_group(&self) -> bool {
        kind_and_names(&self.words).0 == ObjectKind::Group
    }
}

/// `cluster`.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Create a cluster, or change it, as its VirtualServerGroup describes it; the same as `apply`
    #[command(after_help = "Example:\n  vsiflow cluster create -f openshift.yaml --wait")]
    Create(ApplyArgs),
}

/// `output`.
#[derive(Clone, Debug, Args)]
pub(crate) struct OutputArgs {
    /// The group, as `group/NAME` or `NAME`.
    #[arg(value_name = "GROUP")]
    group: String,
    /// The output; all names where it is left out.
    #[arg(value_name = "NAME")]
    pub(crate) key: Option<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

impl OutputArgs {
    /// The group's name.
    pub(crate) fn name(&self) -> String {
        let (_, names) = kind_and_names(std::slice::from_ref(&self.group));
        names.into_iter().next().unwrap_or_default()
    }
}

/// `scale`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ScaleArgs {
    #[command(flatten)]
    pub(crate) pool: PoolArg,
    /// The number of members to scale to.
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) replicas: i64,
    /// The pool within a group, as its document names it.
    #[arg(long = "pool", value_name = "NAME")]
    pub(crate) of_group: Option<String>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// `rollback`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RollbackArgs {
    /// The VSI, as `NAME` or `vsi/NAME`; or a pool, as `pool/NAME`.
    #[arg(required = true, num_args = 1..=2, value_name = "NAME")]
    words: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// The generation to go back to [default: the newest that asked for something else].
    #[arg(long, value_name = "GENERATION")]
    pub(crate) to: Option<u64>,
    /// Print the plan and change nothing; not offered for pools.
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

impl RollbackArgs {
    /// The kind, and the name.
    pub(crate) fn kind_and_name(&self) -> (ObjectKind, String) {
        let (kind, names) = kind_and_names(&self.words);
        (kind, names.into_iter().next().unwrap_or_default())
    }
}

/// `cordon` and `uncordon`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CordonArgs {
    /// The members, as `NAME` or `vsi/NAME`.
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
