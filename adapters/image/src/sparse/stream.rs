//! The disk in a sparse file as a stream, from its first byte to its last.

use async_trait::async_trait;
use bytes::Bytes;
use vsiflow_steps::ports::{
    ImageStream, SourceError, SourceErrorKind, SourceInfo,
    pieces::{PIECE, zeros},
};

use super::map::{BlockMap, SparseExtent};
use super::ranges::{RangeReader, Ranges as _};

/// After this many zeros the file's stream is closed, so that the server does not wait.
const LONG_HOLE: u64 = 1 << 30;

/// The stream of a disk.
pub(super) struct SparseStream {
    map: BlockMap,
    file: RangeReader,
    info: SourceInfo,
    starts_at: u64,
    position: u64,
    /// How many zeros were sent since the last data.
    zeros: u64,
}

impl SparseStream {
    pub(super) fn new(map: BlockMap, file: RangeReader, info: SourceInfo) -> Self {
        Self {
            map,
            file,
            info,
            starts_at: 0,
            position: 0,
            zeros: 0,
        }
    }

    /// Starts at a byte of the disk, if the disk has it.
    pub(super) fn at(mut self, offset: u64) -> Self {
        if offset <= self.map.capacity() {
            (self.starts_at, self.position) = (offset, offset);
        }
        self
    }

    fn cut(&self) -> SourceError {
        SourceError {
            kind: SourceErrorKind::Transient,
            url: self.file.shown().to_owned(),
            message: format!("cut off at byte {} of the disk", self.position),
        }
    }
}

#[async_trait]
impl ImageStream for SparseStream {
    fn info(&self) -> &SourceInfo {
        &self.info
    }

    fn starts_at(&self) -> u64 {
        self.starts_at
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        let piece = match self.map.extent(self.position, PIECE as u64) {
            None => {
                self.file.unchanged().await?;
                return Ok(None);
            }
            Some(SparseExtent::Hole(length)) => {
                self.zeros = self.zeros.saturating_add(length);
                self.file.count(length);
                if self.zeros > LONG_HOLE {
                    self.file.leave();
                }
                zeros(length)
            }
            Some(SparseExtent::Data { at, length }) => {
                self.zeros = 0;
                let bytes = self.file.some(at, length).await?;
                if bytes.is_empty() {
                    return Err(self.cut());
                }
                bytes
            }
        };
        self.position = self.position.saturating_add(piece.len() as u64);
        Ok(Some(piece))
    }
}
