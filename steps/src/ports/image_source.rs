//! Where base images come from.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What a source says of an image before it is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceInfo {
    /// The length in bytes, where the source says it.
    pub length: Option<u64>,
    /// A strong ETag, or the time of the last change: equal for equal content. `sha256:` and 64
    /// digits is the SHA-256 of the image itself, which it must have then.
    pub validator: Option<String>,
}

/// The kinds of errors of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceErrorKind {
    /// Not reached, timed out, 5xx, 429, or cut in the middle: passes by itself.
    Transient,
    /// 404 or 410, or no such file.
    NotFound,
    /// 401 or 403, or no permission.
    Forbidden,
    /// The URL or what comes from it makes no sense (bad scheme, a web page, an empty body).
    Invalid,
    /// This process must not read there: a file, an address or a way without TLS that nobody
    /// permitted.
    Refused,
    /// It unpacks to so much more than it is that it is taken for a trap.
    TooLarge,
    /// A registry's content is not what it is said to be: other bytes than its digest names, or
    /// a layer that is not one disk.
    Mismatch,
    /// An OVA, VMDK or VHDX that is not one disk that stands alone, is damaged, or not what its manifest
    /// says; or one that its source cannot give in the order that it takes.
    Appliance,
    /// Somebody is to send it, and nobody does at present.
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
    /// What the source said when it was opened.
    fn info(&self) -> &SourceInfo;

    /// The byte it begins at: where it was asked to, or 0 where the source cannot be entered in
    /// its middle.
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

    /// Opens the image at a byte, if it is still the one of that validator and the source can be
    /// entered there; otherwise as it is now, at its start. [`ImageStream::starts_at`] and
    /// [`ImageStream::info`] say which.
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

    /// Says that the image will be opened soon: who reads it may wait a moment, so that it is read once for all.
    async fn expect(&self, url: &str) {
        let _ = url;
    }

    /// Whoever was expected has opened it.
    async fn opened(&self, url: &str) {
        let _ = url;
    }

    /// The same source with the access that a host's settings give: credentials for a server of
    /// images, authorities to trust. With `checksum`, `sha256:` and 64 digits, what is read is
    /// compared with that, whatever way it came. `None` where neither makes a difference.
    ///
    /// # Errors
    /// `Invalid` where those settings cannot be used.
    async fn for_host(
        &self,
        host: &str,
        checksum: Option<&str>,
    ) -> Result<Option<Arc<dyn ImageSource>>, SourceError> {
        let _ = (host, checksum);
        Ok(None)
    }
}

/// The source as a host's settings give access to it.
///
/// # Errors
/// As for [`ImageSource::for_host`].
pub async fn source_for(
    source: &Arc<dyn ImageSource>,
    host: &str,
    checksum: Option<&str>,
) -> Result<Arc<dyn ImageSource>, SourceError> {
    let own = source.for_host(host, checksum).await?;
    Ok(own.unwrap_or_else(|| source.clone()))
}
