//! Arguments of `image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vsiflow_workflows::spec::{LabelSelector, Quantity};

use super::{OutputFormat, duration};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List base images with size, hash, age and users
    #[command(after_help = "Example:\n  vsiflow image list -o wide")]
    List(ImageListArgs),
    /// Upload images to a pool; run the same command again to resume
    #[command(
        after_help = "Example:\n  vsiflow image upload https://images.example.com/hpcr.qcow2 -f host.yaml --pool images\n  vsiflow image upload a.qcow2 b.qcow2 -l role=test"
    )]
    Upload(ImageUploadArgs),
    /// Remove images that no VSI, domain or volume uses
    #[command(after_help = "Example:\n  vsiflow image prune --dry-run --keep-last 1")]
    Prune(ImagePruneArgs),
    /// Remove the claim of a vsiflow that is gone for good
    #[command(after_help = "Example:\n  vsiflow image unlock hpcr.qcow2 -f host.yaml --force")]
    Unlock(ImageUnlockArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImageListArgs {
    /// The output format.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// A pool of a host.
#[derive(Clone, Debug, Args)]
pub(crate) struct PoolArgs {
    /// The host's ConfigMap and Secret. Without them, `--host` names the host.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
    /// The storage pool.
    #[arg(long, default_value = "images")]
    pub(crate) pool: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImageUploadArgs {
    /// The images: http://, https://, oci://, s3:// or file:/// URLs, or files. Packed images (gzip, xz, zstd),
    /// OVAs, VMDKs and VHDXs are unpacked on the way.
    #[arg(value_name = "URL|FILE", required = true)]
    pub(crate) images: Vec<String>,
    #[command(flatten)]
    pub(crate) at: PoolArgs,
    /// Every known host with these labels, such as `role=test`; `vsiflow get host` shows them.
    #[arg(
        short = 'l',
        long = "selector",
        value_name = "LABELS",
        value_parser = super::selection::some_labels,
        conflicts_with = "files"
    )]
    pub(crate) hosts: Option<LabelSelector>,
    /// The SHA-256 of the (unpacked) image, where only one is named.
    #[arg(long, value_name = "sha256:DIGITS")]
    pub(crate) checksum: Option<String>,
    /// Choose the architecture of an image in a registry, as `machine.arch` of its VSIs names it.
    #[arg(long, default_value = "s390x")]
    pub(crate) arch: String,
    /// Stop waiting after this time, such as `90s` or `10m` (exit code 5). The same command
    /// resumes the upload.
    #[arg(long, visible_alias = super::WAIT_TIMEOUT, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
}

/// How images are sent.
#[derive(Clone, Debug, Args)]
pub(crate) struct UploadArgs {
    /// Limit the bytes of images per second to each host, such as `20Mi`; replaces UPLOAD_LIMIT.
    /// 0 is no limit.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) upload_limit: Option<u64>,
}

fn rate(text: &str) -> Result<u64, String> {
    let rate: Quantity = text.parse().map_err(|error| format!("{error}"))?;
    Ok(rate.bytes())
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Show what would be removed, without removing anything.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep this many of the newest images in each pool.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_last: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImageUnlockArgs {
    /// The image's volume.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) at: PoolArgs,
    /// Confirm that no other vsiflow is uploading this image.
    #[arg(long, required = true)]
    pub(crate) force: bool,
}
