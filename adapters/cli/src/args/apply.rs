//! Arguments for documents to apply and to delete, and for waiting.

use std::path::PathBuf;

use clap::Args;

use super::{DestroyArgs, OutputFormat, Selection, UploadArgs, target, values::duration};

/// Where documents come from.
#[derive(Clone, Debug, Args)]
pub(crate) struct Sources {
    /// A YAML file, a directory of them, or `-` for standard input; may be repeated.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        required = true
    )]
    pub(crate) files: Vec<PathBuf>,
    /// Also read the subdirectories of a directory.
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// The host of KubeVirt's manifests, by labels of its settings, such as `config=lab`; a word alone is
    /// the value of the label `config`.
    #[arg(long, value_name = "LABELS", value_parser = target::labels)]
    target: Option<target::HostLabels>,
    /// The storage pool of KubeVirt's manifests.
    #[arg(long, value_name = "POOL")]
    pool: Option<String>,
}

impl Sources {
    /// These files, without further options.
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        Self {
            files: files.to_vec(),
            recursive: false,
            target: None,
            pool: None,
        }
    }

    /// The target for VMs in KubeVirt manifests.
    pub(crate) fn kubevirt(&self) -> vsiflow_file::KubevirtTarget {
        vsiflow_file::KubevirtTarget {
            target: self.target.clone().unwrap_or_default().0,
            pool: self.pool.clone(),
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    pub(crate) sources: Sources,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
    #[command(flatten)]
    pub(crate) prune: PruneArgs,
    /// Check everything and show what would be done, without changing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// How long a command stays.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct WaitArgs {
    /// Wait until the outcome is decided.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Stop waiting after this time, such as `90s` or `10m` (exit code 5). The work continues at
    /// the next start.
    #[arg(long, visible_alias = WAIT_TIMEOUT, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
}

/// The option that bounds the wait of every command that waits, also if `--timeout` means something else.
pub(crate) const WAIT_TIMEOUT: &str = "wait-timeout";

impl WaitArgs {
    /// Waits, whether requested or not.
    pub(crate) fn always(timeout: Option<std::time::Duration>) -> Self {
        Self {
            wait: true,
            timeout,
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The VSIs, as `NAME`, `vsi/NAME` or `vsi NAME…`; data disks as `disk/NAME` or `disk NAME…`, pools as
    /// `pool/NAME` or `pool NAME…`, groups as `group/NAME` or `group NAME…`; networks, snapshots, quotas and types in the same way.
    #[arg(
        value_name = "NAME",
        required_unless_present_any = ["files", "labels", "field_selector", "all"]
    )]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) selection: Selection,
    /// All VSIs of the namespace; with `disk`, all its data disks; with `pool` or `group`, all its pools or groups.
    #[arg(long, conflicts_with = "files")]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) destroy: DestroyArgs,
    /// Delete the VSIs in these documents, then their data disks by their `deletionPolicy`.
    #[arg(
        short = 'f',
        long = "filename",
        value_name = "FILE|DIR|-",
        conflicts_with_all = ["names", "labels", "field_selector"]
    )]
    pub(crate) files: Vec<PathBuf>,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Forget the VSI or data disk and leave everything on its host.
    #[arg(long)]
    pub(crate) orphan: bool,
    /// Release the addresses of VSIs that were forgotten, once their guests are gone. With `--orphan` their
    /// hosts are not asked.
    #[arg(long, requires = "names", conflicts_with_all = ["all", "labels", "field_selector"])]
    pub(crate) release: bool,
    /// Ignore names that are not found.
    #[arg(long)]
    pub(crate) ignore_not_found: bool,
}

/// What happens to objects whose documents were removed from a directory.
#[derive(Clone, Debug, Args)]
pub(crate) struct PruneArgs {
    /// Delete what was applied from this directory before and has no document in it now; data
    /// disks by their `deletionPolicy`. `-f` must name one directory.
    #[arg(long)]
    pub(crate) prune: bool,
    /// Delete and apply nothing if more objects than this would be deleted.
    #[arg(long, value_name = "N", default_value_t = 1, requires = "prune")]
    pub(crate) prune_limit: usize,
}
