//! Reads a blob and compares its digest at the end.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Response;
use sha2::{Digest as _, Sha256};
use vsiflow_steps::ports::{ImageStream, SourceError, SourceErrorKind, SourceInfo};

use super::{
    OciSource,
    manifest::Blob,
    reference::{Digest, Reference},
};
use crate::error::{ShownError, error};
use crate::http::within;

/// How often a broken connection is renewed before its next byte, and the first delay before that.
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(200);

/// The stream of a blob. After a broken connection it continues at the next byte of the same content.
pub(super) struct BlobStream {
    pub(super) source: OciSource,
    pub(super) reference: Reference,
    pub(super) shown: ShownError,
    pub(super) blob: Blob,
    pub(super) info: SourceInfo,
    pub(super) response: Response,
    pub(super) starts_at: u64,
    read: u64,
    /// `None` if reading started in the middle.
    hash: Option<Sha256>,
    tries: u32,
}

impl BlobStream {
    /// A blob whose bytes from `starts_at` are in this response.
    pub(super) fn new(
        source: OciSource,
        reference: Reference,
        shown: ShownError,
        blob: Blob,
        response: Response,
        starts_at: u64,
    ) -> Self {
        let info = SourceInfo {
            length: Some(blob.size),
            validator: Some(blob.digest.text().to_owned()),
        };
        Self {
            source,
            reference,
            shown,
            blob,
            info,
            response,
            starts_at,
            read: starts_at,
            hash: (starts_at == 0).then(Sha256::new),
            tries: 0,
        }
    }

    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        let deadline = self.source.state.http.idle_deadline();
        let piece = within(deadline, &self.shown, self.response.chunk()).await?;
        if piece.is_none() && self.read < self.blob.size {
            let message = format!("cut off: {} of {} bytes arrived", self.read, self.blob.size);
            return Err(error(SourceErrorKind::Transient, &self.shown, message));
        }
        Ok(piece)
    }

    /// Requests the rest, after a growing delay.
    async fn reconnect(&mut self, cause: SourceError) -> Result<(), SourceError> {
        if cause.kind != SourceErrorKind::Transient || self.tries >= TRIES || self.read == 0 {
            return Err(cause);
        }
        tokio::time::sleep(PAUSE.saturating_mul(1 << self.tries)).await;
        self.tries = self.tries.saturating_add(1);
        let part = (&self.reference, &self.shown, &self.blob.digest, self.read);
        let (response, starts_at, _) = self.source.part(part).await.map_err(|_| cause.clone())?;
        // The registry has no ranges: the reader has to start again, and compares the digest.
        if starts_at != self.read {
            return Err(cause);
        }
        self.response = response;
        Ok(())
    }

    /// The end of the blob, if its digest is the expected one.
    fn end(&mut self) -> Result<Option<Bytes>, SourceError> {
        let digest = self.hash.take().map(Digest::ended);
        match digest.filter(|digest| *digest != self.blob.digest) {
            Some(received) => Err(digest_mismatch(&self.shown, &self.blob.digest, &received)),
            None => Ok(None),
        }
    }
}

/// The error for content whose digest is not the requested one.
pub(super) fn digest_mismatch(shown: &ShownError, named: &Digest, found: &Digest) -> SourceError {
    let message = format!(
        "the registry was asked for {}, and what it gave is {}",
        named.text(),
        found.text()
    );
    error(SourceErrorKind::Mismatch, shown, message)
}

#[async_trait]
impl ImageStream for BlobStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.starts_at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            let piece = match self.piece().await {
                Ok(Some(piece)) if piece.is_empty() => continue,
                Ok(Some(piece)) => piece,
                Ok(None) => return self.end(),
                Err(cause) => {
                    self.reconnect(cause).await?;
                    continue;
                }
            };
            self.tries = 0;
            self.read = self.read.saturating_add(piece.len() as u64);
            if self.read > self.blob.size {
                let message = format!(
                    "a blob is longer than the {} bytes it is to have",
                    self.blob.size
                );
                return Err(error(SourceErrorKind::Mismatch, &self.shown, message));
            }
            if let Some(hash) = &mut self.hash {
                hash.update(&piece);
            }
            return Ok(Some(piece));
        }
    }
}
