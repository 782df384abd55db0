//! The body of an HTTP response as an image stream.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Response;
use vsiflow_steps::ports::{ImageStream, SourceError, SourceErrorKind, SourceInfo};

use super::{answer::EMPTY, within};
use crate::error::{ShownError, error};

/// Where a response begins.
#[derive(Clone, Copy, Default)]
pub(super) struct Begin {
    /// The offset of the first byte that the server sends.
    pub(super) first: u64,
    /// The offset of the first byte that is read of it; the bytes before it are passed over.
    pub(super) wanted: u64,
}

/// An image that is being received.
pub(crate) struct HttpStream {
    pub(super) response: Response,
    pub(super) shown: ShownError,
    pub(super) info: SourceInfo,
    pub(super) starts_at: u64,
    /// The offset of the next byte that the server sends; less than `starts_at` if it began earlier.
    pub(super) read: u64,
    /// First bytes that were looked at, and are not read yet.
    pub(super) peeked: Bytes,
    pub(super) idle_deadline: Duration,
}

#[async_trait]
impl ImageStream for HttpStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.starts_at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        loop {
            let Some(piece) = self.piece().await? else {
                return self.end();
            };
            let unwanted = self.starts_at.saturating_sub(self.read);
            self.read = self.read.saturating_add(piece.len() as u64);
            let skipped = usize::try_from(unwanted).unwrap_or(usize::MAX);
            let wanted = piece.slice(skipped.min(piece.len())..);
            // An empty piece does not mean the end.
            if !wanted.is_empty() {
                return Ok(Some(wanted));
            }
        }
    }
}

impl HttpStream {
    async fn piece(&mut self) -> Result<Option<Bytes>, SourceError> {
        if !self.peeked.is_empty() {
            return Ok(Some(std::mem::take(&mut self.peeked)));
        }
        within(self.idle_deadline, &self.shown, self.response.chunk()).await
    }

    /// The first bytes of a response of which none were read: so many, or fewer if it has fewer.
    pub(super) async fn peek(&mut self, bytes: usize) -> Result<Bytes, SourceError> {
        let mut head = Vec::new();
        while head.len() < bytes
            && let Some(piece) = self.piece().await?
        {
            head.extend_from_slice(&piece);
        }
        self.peeked = head.into();
        Ok(self.peeked.clone())
    }

    /// The end of the image, if the length is the announced one.
    fn end(&self) -> Result<Option<Bytes>, SourceError> {
        match self.info.length {
            _ if self.read == 0 => Err(error(SourceErrorKind::Empty, &self.shown, EMPTY)),
            Some(length) if length != self.read => {
                let message = format!("cut off: {} of {length} bytes arrived", self.read);
                Err(error(SourceErrorKind::Transient, &self.shown, message))
            }
            _ => Ok(None),
        }
    }
}
