//! `image`: base images ahead of time and afterwards.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vsiflow_workflows::spec::Quantity;

use super::{OutputFormat, duration};

#[derive(Clone, Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Show each base image with size, hash, age and users
    List(ImageListArgs),
    /// Bring an image onto a pool; interrupted, the same command goes on where it was
    Upload(ImageUploadArgs),
    /// Remove the images that no VSI, domain or volume uses
    Prune(ImagePruneArgs),
    /// Take away the claim of a vsiflow that is gone for good
    Unlock(ImageUnlockArgs),
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImageListArgs {
    /// How the result is printed.
    #[arg(short, long, value_enum)]
    pub(crate) output: Option<OutputFormat>,
}

/// A pool of a host.
#[derive(Clone, Debug, Args)]
pub(crate) struct PoolArgs {
    /// The host's ConfigMap and Secret; without them, `--host` names the host.
    #[arg(short = 'f', long = "filename", value_name = "FILE|DIR|-")]
    pub(crate) files: Vec<PathBuf>,
    /// The storage pool.
    #[arg(long, default_value = "images")]
    pub(crate) pool: String,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImageUploadArgs {
    /// The image: a http://, https:// or file:/// URL, or a file. What ends in `.gz`, `.xz` or
    /// `.zst` is unpacked on the way.
    #[arg(value_name = "URL|FILE")]
    pub(crate) image: String,
    #[command(flatten)]
    pub(crate) at: PoolArgs,
    /// What the image's SHA-256 must be; of the unpacked image, where it is packed.
    #[arg(long, value_name = "sha256:DIGITS")]
    pub(crate) checksum: Option<String>,
    /// Give up waiting after this long, such as `90s` or `10m` (exit code 5); the same command goes
    /// on where it was.
    #[arg(long, visible_alias = super::WAIT_TIMEOUT, value_name = "DURATION", value_parser = duration)]
    pub(crate) timeout: Option<std::time::Duration>,
    #[command(flatten)]
    pub(crate) upload: UploadArgs,
}

/// How images are sent.
#[derive(Clone, Debug, Args)]
pub(crate) struct UploadArgs {
    /// Send at most so many bytes of images a second to a host, such as `20Mi`; takes the place
    /// of UPLOAD_LIMIT. 0 is no limit.
    #[arg(long, value_name = "RATE", value_parser = rate)]
    pub(crate) upload_limit: Option<u64>,
}

fn rate(text: &str) -> Result<u64, String> {
    let rate: Quantity = text.parse().map_err(|error| format!("{error}"))?;
    Ok(rate.bytes())
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImagePruneArgs {
    /// Say what would be removed; remove nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Keep so many of each pool, the newest.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) keep_last: usize,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct ImageUnlockArgs {
    /// The image's volume.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) at: PoolArgs,
    /// Yes: nobody is bringing this image any more.
    #[arg(long, required = true)]
    pub(crate) force: bool,
}
