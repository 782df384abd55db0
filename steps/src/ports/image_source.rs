//! The port to the sources of base images.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a source reports about an image before it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// The length in bytes, if the source reports it.
    pub length: Option<u64>,
    /// A strong ETag, or the time of the last change: equal for equal content. `sha256:` and 64 digits is
    /// the SHA-256 of the image itself, which the image must then have.
    pub validator: Option<String>,
}

/// The kinds of errors of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// Not reached, timed out, 5xx, 429, or cut off: passes without action.
    Transient,
    /// 404 or 410, or no such file.
    NotFound,
    /// 401 or 403, or no permission.
    Forbidden,
    /// The URL or what it leads to is invalid, for example a bad scheme, or a status that is none of the others.
    Invalid,
    /// A web page was sent in place of the image.
    Page,
    /// The file is empty.
    Empty,
    /// The file is packed and cannot be unpacked: it is damaged.
    Packed,
    /// The file is packed so that unpacking it needs too much memory.
    Greedy,
    /// Other data follows the packed data.
    Followed,
    /// The server sends the file encoded.
    Encoded,
    /// The server's certificate is not trusted.
    Untrusted,
    /// The server redirects in a circle, or to an address that is none.
    Redirected,
    /// This process must not read it: a file, an address or a connection without TLS that the operator
    /// has not permitted.
    Refused,
    /// It unpacks to so many bytes that it is taken for a decompression bomb.
    TooLarge,
    /// A registry's content does not match: other bytes than its digest names, or a layer that is not one
    /// disk.
    Mismatch,
    /// An OVA, VMDK or VHDX that is not a single disk without parent, is damaged, or does not match its
    /// manifest; or one whose source cannot serve it in the order that conversion needs.
    Appliance,
    /// The image changed while it was read.
    Changed,
    /// A user has to send it, and is not sending it at present.
    Awaited,
}

/// An error of a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {message}")]
pub struct SourceError {
    /// What kind of error.
    pub kind: SourceErrorKind,
    /// The URL without credentials.
    pub url: String,
    /// What happened.
    pub message: String,
}

/// An image being read.
#[async_trait]
pub trait ImageStream: Send {
    /// The source's information when the image was opened.
    fn info(&self) -> &SourceInfo;

    /// The offset it begins at: the requested one, or 0 if the source supports no ranges.
    fn starts_at(&self) -> u64 {
        0
    }

    /// The next bytes; `None` at the end. A body shorter than announced is an error, not an end.
    async fn next(&mut self) -> Result<Option<Bytes>, SourceError>;
}

/// Reads base images.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// Asks the source about the image without reading it.
    ///
    /// # Errors
    /// By kind, with the URL and what happened.
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError>;

    /// Opens the image at its start.
    ///
    /// # Errors
    /// By kind, with the URL and what happened.
    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError>;

    /// Opens the image at an offset, if it still has that validator and the source supports ranges;
    /// otherwise its current content, at its start. [`ImageStream::starts_at`] and [`ImageStream::info`]
    /// say which.
    ///
    /// # Errors
    /// By kind, with the URL and what happened.
    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let _ = (offset, validator);
        self.open(url).await
    }

    /// Announces that the image will be opened soon: a reader may wait a moment, so that the image is
    /// read once for all.
    async fn expect(&self, url: &str) {
        let _ = url;
    }

    /// Reports that an announced open has happened.
    async fn opened(&self, url: &str) {
        let _ = url;
    }

    /// The same source with the access that a host's settings give: credentials for an image server,
    /// authorities to trust. With `checksum`, `sha256:` and 64 digits, the content is compared with it,
    /// whatever its transport. `None` if neither makes a difference.
    ///
    /// # Errors
    /// `Invalid` if those settings cannot be used.
    async fn for_host(
        &self,
        host: &str,
        checksum: Option<&str>,
    ) -> Result<Option<Arc<dyn ImageSource>>, SourceError> {
        let _ = (host, checksum);
        Ok(None)
    }

    /// The same source, reading for an owner: a namespace, or a host that belongs to none. What the process shares
    /// for images, such as memory to unpack them, is divided among owners. `None` if that makes no difference.
    fn for_owner(&self, owner: &ImageOwner) -> Option<Arc<dyn ImageSource>> {
        let _ = owner;
        None
    }
}

/// For whom an image is read; empty if nobody said.
pub type ImageOwner = Arc<str>;

/// The source with the access that a host's settings give.
///
/// # Errors
/// As for [`ImageSource::for_host`].
pub async fn source_for(
    source: &Arc<dyn ImageSource>,
    host: &str,
    checksum: Option<&str>,
) -> Result<Arc<dyn ImageSource>, SourceError> {
    let for_host = source.for_host(host, checksum).await?;
    Ok(for_host.unwrap_or_else(|| source.clone()))
}

/// The source, reading for an owner.
pub fn source_for_owner(source: &Arc<dyn ImageSource>, owner: &ImageOwner) -> Arc<dyn ImageSource> {
    let for_owner = source.for_owner(owner);
    for_owner.unwrap_or_else(|| source.clone())
}
