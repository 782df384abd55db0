//! Judges an image by its first bytes and its end, before any of it is sent.

use vsiflow_engine::model::Failure;

use super::{format, qcow2, whole};
use crate::ports::{ImageSource, ImageStream, SourceError, VolumeFormat};

/// Reads the first bytes of the image, and its end if the source reads pieces. Returns the size as a guest would see it, in bytes, if it is
/// known by then.
///
/// Nothing is changed, so it may be cancelled at any time.
///
/// # Errors
/// Those of the source, and the reason why it can be no disk.
pub async fn examine(source: &dyn ImageSource, url: &str) -> Result<Option<u64>, Failure> {
    let mut stream = source.open(url).await?;
    let info = stream.info().clone();
    let head = first_bytes(&mut *stream).await?;
    drop(stream);
    let unfit = |why: qcow2::Unfit| format::unfit_image(&why, url);
    match whole::check_source(source, url, &info, &head)
        .await
        .map_err(unfit)?
    {
        VolumeFormat::Qcow2 => qcow2::virtual_size(&head).map(Some).map_err(unfit),
        VolumeFormat::Raw => Ok(info.length),
    }
}

/// The first bytes of an image, enough to detect its format.
async fn first_bytes(stream: &mut dyn ImageStream) -> Result<Vec<u8>, SourceError> {
    let mut head = Vec::new();
    while (head.len() as u64) < format::HEADER_MAX {
        match stream.next().await? {
            Some(bytes) => head.extend_from_slice(&bytes),
            None => break,
        }
    }
    Ok(head)
}
