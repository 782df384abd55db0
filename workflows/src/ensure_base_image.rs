//! Workflow `ensure_base_image`: uploads a base image to a pool once, for all that need it.

use vsiflow_engine::{
    model::{Failure, Graph},
    step::Step as _,
};
use vsiflow_steps::{
    image::{Claim, MarkWhole, Params, ProbeSource, UploadChunks, VerifyImage},
    ports::VolumeKey,
};

use crate::{nodes::Nodes, record::ImageRecord};

/// The workflow's name.
pub const NAME: &str = "ensure_base_image";

/// The name of a file once it is unpacked: images are unpacked during the upload.
pub fn unpacked(file_name: &str) -> &str {
    let stems = [".gz", ".xz", ".zst", ".ova", ".vmdk", ".vhdx"]
        .map(|packed| file_name.strip_suffix(packed));
    let stem = stems.into_iter().flatten().next();
    stem.filter(|stem| !stem.is_empty()).unwrap_or(file_name)
}

/// The graph: `claim` → `probe_source` → `upload_chunks` → `verify_image` → `mark_whole`.
///
/// # Errors
/// When parameters cannot be written.
pub fn graph(image: &ImageRecord) -> Result<Graph, Failure> {
    let params = Params {
        host: image.host.clone(),
        volume: VolumeKey {
            pool: image.pool.clone(),
            name: unpacked(&image.file_name).to_owned(),
        },
        url: image.url.clone(),
        checksum: image.checksum.clone(),
    };
    let mut nodes = Nodes::new(NAME, &image.host);
    nodes.step::<Claim>(&[], &params)?;
    nodes.step::<ProbeSource>(&[Claim::NAME], &params)?;
    // A partial upload is recognised as partial, so it may be interrupted when nothing waits for the
    // image any more.
    nodes
        .step::<UploadChunks>(&[ProbeSource::NAME], &params)?
        .interruptible = true;
    nodes.step::<VerifyImage>(&[UploadChunks::NAME], &params)?;
    nodes.step::<MarkWhole>(&[VerifyImage::NAME], &params)?;
    Ok(nodes.build())
}
