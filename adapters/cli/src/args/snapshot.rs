//! Arguments of `snapshot`.

use clap::{Args, Subcommand};

use super::WaitArgs;

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Take a snapshot of a VSI's disks
    #[command(
        after_help = "Example:\n  vsiflow snapshot create web --wait\n  vsiflow snapshot create web before-upgrade --wait"
    )]
    Create(SnapshotCreateArgs),
    /// Put a VSI back as a snapshot has it; shows what is lost, and asks
    #[command(
        after_help = "Example:\n  vsiflow snapshot restore web-1 --dry-run\n  vsiflow snapshot restore web-1 --yes --wait"
    )]
    Restore(SnapshotRestoreArgs),
    /// Delete snapshots with their copies of disks
    #[command(after_help = "Example:\n  vsiflow snapshot delete web-1 --wait")]
    Delete(SnapshotDeleteArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotCreateArgs {
    /// The VSI, as `NAME` or `vsi/NAME`.
    #[arg(value_name = "NAME")]
    pub(crate) vsi: String,
    /// The snapshot's name [default: the VSI's name with the next number, such as web-1].
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) name: Option<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Save the memory of a guest that runs, too; it stands still until that is written.
    #[arg(long, conflicts_with = "quiesce")]
    pub(crate) memory: bool,
    /// Have the guest's agent hold its file systems still for the moment of the snapshot.
    #[arg(long)]
    pub(crate) quiesce: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotRestoreArgs {
    /// The snapshot, as `NAME` or `snapshot/NAME`.
    #[arg(value_name = "SNAPSHOT")]
    pub(crate) name: String,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Leave out the memory of the snapshot: the guest boots from the disks.
    #[arg(long)]
    pub(crate) disks_only: bool,
    /// Restore copies without a check of their recorded hashes, or with none on record.
    #[arg(long)]
    pub(crate) unverified: bool,
    /// Delete the present disks before their copies are put back, for pools without room for both. A failure or a
    /// cancellation in the middle leaves the VSI without some of them. The disks of saved memory are always put back in
    /// place.
    #[arg(long)]
    pub(crate) in_place: bool,
    /// Show what would be lost, without changing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask.
    #[arg(short, long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct SnapshotDeleteArgs {
    /// The snapshots, as `NAME` or `snapshot/NAME`.
    #[arg(required = true, value_name = "SNAPSHOT")]
    pub(crate) names: Vec<String>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Forget them only: the host is not asked, and the copies stay.
    #[arg(long)]
    pub(crate) orphan: bool,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct CloneArgs {
    /// The VSI to clone, as `NAME` or `vsi/NAME`.
    #[arg(value_name = "NAME")]
    pub(crate) vsi: String,
    /// The name of the new VSI.
    #[arg(value_name = "NEW")]
    pub(crate) name: String,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    /// Have the guest's agent hold its file systems still for the moment of the snapshot.
    #[arg(long)]
    pub(crate) quiesce: bool,
    /// As other commands have it; this one waits anyway.
    #[arg(long, hide = true)]
    pub(crate) wait: bool,
    /// Stop waiting after this time, such as `90s` or `10m` (exit code 5). The work continues at the
    /// next start.
    #[arg(long, value_name = "DURATION", value_parser = super::duration)]
    pub(crate) timeout: Option<std::time::Duration>,
}
