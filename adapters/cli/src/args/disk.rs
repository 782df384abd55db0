//! Arguments of `disk`, which exports and imports data disks.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vsiflow_workflows::spec::Quantity;

use super::{WaitArgs, create::label};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum DiskCommand {
    /// Write a data disk into a file; run the same command again to resume
    #[command(
        after_help = "Example:\n  vsiflow disk export data data.qcow2\n  vsiflow disk export snapshot/web-1/data data.qcow2"
    )]
    Export(DiskExportArgs),
    /// Make a data disk with the content of a file; run the same command again to resume
    #[command(
        after_help = "Example:\n  vsiflow disk import data data.qcow2 -f host.yaml --label app=web"
    )]
    Import(DiskImportArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DiskExportArgs {
    /// The data disk, or a disk of a snapshot as `snapshot/SNAPSHOT/DISK`. No guest that is on may have it.
    pub(crate) name: String,
    /// The file to be written. It must not exist; until it is whole its name ends with `.part`.
    pub(crate) file: PathBuf,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct DiskImportArgs {
    /// The name of the new data disk.
    pub(crate) name: String,
    /// The file: a raw or qcow2 image.
    pub(crate) file: PathBuf,
    /// The namespace.
    #[arg(short, long, default_value = "default")]
    pub(crate) namespace: String,
    #[command(flatten)]
    pub(crate) at: super::image::PoolArgs,
    /// The size that the guest sees, such as `20Gi` [default: that of the image].
    #[arg(long)]
    pub(crate) size: Option<Quantity>,
    /// The SHA-256 of the file.
    #[arg(long, value_name = "sha256:DIGITS")]
    pub(crate) checksum: Option<String>,
    /// Labels, by which VSIs choose the disk.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}
