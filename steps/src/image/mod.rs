//! The steps that bring a base image onto a pool, one file each.
//!
//! `claim` → `probe_source` → `upload_chunks` → `verify_image` → `mark_whole`. A base image is whole when
//! every byte was verified on the host after a sync there, and its sidecar says so; until then it is not
//! copied. Its bytes are sent once: `transfer` resumes at the position that `track` recorded as stored on
//! the host.

mod bare;
mod bounds;
mod checkpoint;
pub mod claim;
mod foreign;
pub mod format;
mod from_start;
mod hash;
pub mod head;
mod identity;
pub mod mark_whole;
mod partitions;
mod pieces;
mod place;
pub mod probe_source;
mod promise;
pub mod qcow2;
pub mod remove;
mod shared_hash;
pub mod sidecar;
mod tar;
mod track;
pub mod transfer;
mod unmarked;
pub mod upload_chunks;
pub mod verify;
mod whole;
mod write_behind;

pub use claim::Claim;
pub use mark_whole::MarkWhole;
pub use probe_source::ProbeSource;
pub use remove::RemoveImage;
pub use upload_chunks::UploadChunks;
pub use verify::VerifyImage;
pub use write_behind::RunningDigest;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vsiflow_engine::{model::Failure, step::StepContext};

use crate::{
    error,
    ports::{HostPorts, ImageSource, SourceError, VolumeFormat, VolumeInfo, VolumeKey, source_for},
};

/// Parameters of every step of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The desired volume; [`claim::Output`] has the one that was chosen.
    pub volume: VolumeKey,
    /// The URL of the image.
    pub url: String,
    /// `sha256:` and 64 hexadecimal digits.
    #[serde(default)]
    pub checksum: Option<String>,
}

impl Params {
    /// The source, with the access that the host's settings and the checksum give.
    async fn source(
        &self,
        source: &Arc<dyn ImageSource>,
    ) -> Result<Arc<dyn ImageSource>, SourceError> {
        source_for(source, &self.host, self.checksum.as_deref()).await
    }

    /// The checksum from the user, as lower-case digits without prefix.
    ///
    /// # Errors
    /// Blocked if it has another form.
    pub fn expected(&self) -> Result<Option<String>, Failure> {
        let Some(checksum) = &self.checksum else {
            return Ok(None);
        };
        let digits = checksum
            .trim()
            .strip_prefix("sha256:")
            .map(str::to_ascii_lowercase);
        let valid = |d: &String| d.len() == 64 && d.bytes().all(|b| b.is_ascii_hexdigit());
        digits.filter(valid).map(Some).ok_or_else(|| {
            error::CHECKSUM
                .failure("`imageChecksum` is not of the form sha256: and 64 hexadecimal digits")
                .of_object(&self.url)
        })
    }
}

/// A base image that is whole and verified on its host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BaseImage {
    /// The host's ID.
    pub host: String,
    /// The volume.
    pub key: VolumeKey,
    /// The path on the host.
    pub path: String,
    /// The format.
    pub format: VolumeFormat,
    /// The file's length in bytes.
    pub size: u64,
    /// The size a guest sees, in bytes.
    pub virtual_size: u64,
    /// The SHA-256 of the file, as the host read it.
    pub sha256: String,
    /// The file's last change, as the host reports it.
    pub modified: Option<String>,
    /// Its identity, which distinguishes the images of one pool: 64 digits derived from the URL and its
    /// checksum, validator or content.
    #[serde(default)]
    pub origin: String,
}

/// Whether the volume is still the file that was verified.
pub fn unchanged(image: &BaseImage, volume: &VolumeInfo) -> bool {
    volume.key == image.key && volume.physical == image.size && volume.modified == image.modified
}

/// The output of [`Claim`], for the later steps.
fn claimed(cx: &StepContext) -> Result<claim::Output, Failure> {
    cx.output(<Claim as vsiflow_engine::step::Step>::NAME)
}

fn gone(ports: &HostPorts, key: &VolumeKey) -> Failure {
    error::MISSING
        .failure("the base image's volume is gone")
        .on_host(ports.host.name())
        .of_object(format!("volume {key}"))
}
