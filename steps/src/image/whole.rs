//! Checks that an image is whole and a disk: by its header, its tables and its last sector. Before its first byte
//! is sent, as far as its source can be read at any offset; always on the host, before the image is marked.

use bytes::Bytes;
use vsiflow_engine::model::Failure;

use super::{
    format,
    qcow2::{
        Unfit,
        tables::{FileBytes, Qcow2Tables},
    },
};
use crate::ports::{HostPorts, ImageSource, SourceInfo, VolumeFormat, VolumeInfo, VolumeKey};

/// Why an image was not found whole.
pub(super) enum Judged {
    /// It is not whole, or not a disk.
    Unfit(Unfit),
    /// It could not be read.
    Unread(Failure),
}

impl From<Unfit> for Judged {
    fn from(unfit: Unfit) -> Self {
        Self::Unfit(unfit)
    }
}

/// Checks a volume that has all bytes of the image.
///
/// # Errors
/// [`Judged`].
pub(super) async fn check_volume(
    ports: &HostPorts,
    volume: &VolumeInfo,
    head: &[u8],
    format: VolumeFormat,
) -> Result<(), Judged> {
    let mut bytes = VolumeBytes {
        ports,
        key: &volume.key,
        length: volume.physical,
    };
    match format {
        VolumeFormat::Qcow2 => Qcow2Tables::read(head)?.check_all(&mut bytes).await,
        VolumeFormat::Raw => check_end(&mut bytes).await,
    }
}

/// Checks the image at its source with a few reads, and returns its format. What cannot be read is checked later,
/// on the host.
///
/// # Errors
/// The reason why the image is refused.
pub(super) async fn check_source(
    source: &dyn ImageSource,
    url: &str,
    info: &SourceInfo,
    head: &[u8],
) -> Result<VolumeFormat, Unfit> {
    let format = format::of_announced(head, info.length)?;
    let (Some(length), Some(validator)) = (info.length, &info.validator) else {
        return Ok(format);
    };
    let mut bytes = SourceBytes {
        source,
        url,
        validator,
        length,
    };
    let judged = match format {
        VolumeFormat::Qcow2 => Qcow2Tables::read(head)?.check_end(&mut bytes).await,
        VolumeFormat::Raw => check_end(&mut bytes).await,
    };
    match judged {
        Err(Judged::Unfit(unfit)) => Err(unfit),
        Err(Judged::Unread(_)) | Ok(()) => Ok(format),
    }
}

/// Checks the last sector of a raw disk.
async fn check_end<F: FileBytes<Error = Judged>>(bytes: &mut F) -> Result<(), Judged> {
    let length = bytes.length();
    let sector = format::SECTOR.min(length);
    let last = bytes.exactly(length.saturating_sub(sector), sector).await?;
    Ok(format::check_last_sector(&last)?)
}

/// The bytes of a volume.
struct VolumeBytes<'a> {
    ports: &'a HostPorts,
    key: &'a VolumeKey,
    length: u64,
}

impl FileBytes for VolumeBytes<'_> {
    type Error = Judged;

    fn length(&self) -> u64 {
        self.length
    }

    async fn exactly(&mut self, at: u64, length: u64) -> Result<Bytes, Judged> {
        let content = self.ports.storage.read(self.key, at, length).await;
        let bytes = content.map_err(|error| Judged::Unread(error.into()))?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(Unfit::Cut.into())
        }
    }
}

/// The bytes of an image at its source.
struct SourceBytes<'a> {
    source: &'a dyn ImageSource,
    url: &'a str,
    validator: &'a str,
    length: u64,
}

impl FileBytes for SourceBytes<'_> {
    type Error = Judged;

    fn length(&self) -> u64 {
        self.length
    }

    async fn exactly(&mut self, at: u64, length: u64) -> Result<Bytes, Judged> {
        let unread = |error: crate::ports::SourceError| Judged::Unread(error.into());
        let not_here = || {
            let why = "the source cannot be read at an offset, or has another image now";
            Judged::Unread(crate::error::SOURCE_CHANGED.failure(why))
        };
        let validator = Some(self.validator);
        let opened = self.source.open_at(self.url, at, validator).await;
        let mut stream = opened.map_err(unread)?;
        if stream.starts_at() != at || stream.info().validator.as_deref() != validator {
            return Err(not_here());
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < length {
            let piece = stream.next().await.map_err(unread)?;
            bytes.extend_from_slice(&piece.ok_or_else(not_here)?);
        }
        bytes.truncate(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(bytes.into())
    }
}
