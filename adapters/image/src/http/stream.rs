//! The body of an HTTP response as an image stream.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use reqwest::Response;
use vsiflow_steps::ports::{ImageStream, SourceError, SourceErrorKind, SourceInfo};

use super::{answer::EMPTY, within};
use crate::error::{ShownError, error};

/// An image that is being received.
pub(crate) struct HttpStream {
    pub(super) response: Response,
    pub(super) shown: ShownError,
    pub(super) info: SourceInfo,
    pub(super) starts_at: u64,
    /// The offset of the next byte that the server sends; less than `starts_at` if it began earlier.
    pub(super) read: u64,
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
            let piece = within(self.idle_deadline, &self.shown, self.response.chunk()).await?;
            let Some(piece) = piece else {
                return self.end();
            };
            let before = self.starts_at.saturating_sub(self.read);
            self.read = self.read.saturating_add(piece.len() as u64);
            let over = usize::try_from(before).unwrap_or(usize::MAX);
            let wanted = piece.slice(over.min(piece.len())..);
            // An empty piece does not mean the end.
            if !wanted.is_empty() {
                return Ok(Some(wanted));
            }
        }
    }
}

impl HttpStream {
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
