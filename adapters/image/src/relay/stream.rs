//! The stream of a relayed file that a host reads.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use vsiflow_steps::ports::{ImageStream, SourceError, SourceInfo, pieces::zeros};

use super::{STARVED, SentPiece, UploadRelay, awaited};

/// How long a reader waits for bytes, and how many bytes extend that by a second.
pub(super) const TIMEOUT: Duration = Duration::from_secs(15);
const MIN_RATE: u64 = 4 * 1024;
const STOPPED: &str = "the sender of the file has stopped";

/// A file that is sent to a reader.
pub(super) struct RelayStream {
    pub(super) relay: UploadRelay,
    pub(super) url: String,
    pub(super) info: SourceInfo,
    pub(super) starts_at: u64,
    pub(super) read: u64,
    pub(super) pieces: mpsc::Receiver<SentPiece>,
    /// How many zeros come next.
    pub(super) zeros: u64,
    /// How long it still waits: each wait shortens it, each byte extends it.
    pub(super) patience: Duration,
}

impl RelayStream {
    async fn piece(&mut self) -> Result<SentPiece, SourceError> {
        let begun = Instant::now();
        match timeout(self.patience, self.pieces.recv()).await {
            Ok(Some(piece)) => {
                let waited = self.patience.saturating_sub(begun.elapsed());
                let worth = Duration::from_millis(piece.len().saturating_mul(1_000) / MIN_RATE);
                self.patience = waited.saturating_add(worth).min(TIMEOUT);
                Ok(piece)
            }
            Ok(None) => Err(awaited(&self.url, STOPPED)),
            Err(_) => {
                self.relay.starved(&self.url);
                let length = self.info.length.unwrap_or_default();
                let why = format!("{STARVED}: it has {} of {length} bytes", self.read);
                Err(awaited(&self.url, &why))
            }
        }
    }
}

#[async_trait]
impl ImageStream for RelayStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.starts_at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.info.length.is_none_or(|length| self.read >= length) {
            return Ok(None);
        }
        let piece = if self.zeros > 0 {
            SentPiece::Zeros(self.zeros)
        } else {
            self.piece().await?
        };
        let bytes = match piece {
            SentPiece::Data(bytes) => bytes,
            SentPiece::Zeros(left) => {
                let hole = zeros(left);
                self.zeros = left.saturating_sub(hole.len() as u64);
                hole
            }
        };
        self.read = self.read.saturating_add(bytes.len() as u64);
        Ok(Some(bytes))
    }
}
