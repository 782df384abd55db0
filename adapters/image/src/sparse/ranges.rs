//! Reads a file at any offset.

use std::io;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::mpsc;
use vsiflow_steps::ports::{ImageOwner, ImageSource, ImageStream, SourceError, SourceErrorKind};

use super::error::{SparseFault, Unread};
use crate::packing::{MemoryBusy, ReservedMemory, Unpacking};
use crate::shared::budget::READ_MEMORY;

/// Up to this distance, bytes are read and discarded instead of sending a new request, which takes longer.
const NEAR: u64 = 1 << 20;
/// How many first bytes show the format of a file.
const HEAD: usize = 512;

/// A file whose bytes can be read in any order.
pub(super) trait Ranges: Send {
    /// The file's length in bytes.
    fn length(&self) -> u64;

    /// Some of the bytes at offset `at`; empty at the end of the file.
    fn some(
        &mut self,
        at: u64,
        most: u64,
    ) -> impl Future<Output = Result<Bytes, SourceError>> + Send;

    /// Reserves memory for the tables, in bytes, as long as the file is read.
    fn reserve(&mut self, bytes: u64) -> impl Future<Output = Result<(), SourceError>> + Send;

    /// Exactly `length` bytes at offset `at`.
    fn exactly(
        &mut self,
        at: u64,
        length: u64,
    ) -> impl Future<Output = Result<Vec<u8>, Unread>> + Send {
        async move {
            let end = at
                .checked_add(length)
                .filter(|end| *end <= self.length())
                .ok_or(SparseFault::Short)?;
            let mut bytes = Vec::new();
            let mut next = at;
            while next < end {
                let piece = self.some(next, end.saturating_sub(next)).await?;
                if piece.is_empty() {
                    return Err(SparseFault::Short.into());
                }
                next = next.saturating_add(piece.len() as u64);
                bytes.extend_from_slice(&piece);
            }
            Ok(bytes)
        }
    }
}

/// A file of a source that can be read at any offset.
pub(super) struct RangeReader {
    source: Arc<dyn ImageSource>,
    url: String,
    shown: String,
    validator: Option<String>,
    length: u64,
    /// Whether a read at an offset has succeeded.
    entered: bool,
    /// The current stream, until another offset is needed.
    open: Option<OpenRange>,
    /// For whom the tables are in memory, and how far the file was read.
    unpacking: Arc<Unpacking>,
    /// Tells `unpacking` that the file is read.
    _is_read: mpsc::Receiver<io::Result<Bytes>>,
    memory: Option<ReservedMemory>,
}

/// A stream, its position, and its bytes that were not used yet.
struct OpenRange {
    stream: Box<dyn ImageStream>,
    at: u64,
    rest: Bytes,
}

impl RangeReader {
    /// The file that `stream` reads from its start.
    pub(super) fn new(
        source: Arc<dyn ImageSource>,
        url: &str,
        stream: Box<dyn ImageStream>,
        owner: &ImageOwner,
    ) -> Self {
        let (to, is_read) = mpsc::channel(1);
        Self {
            source,
            url: url.to_owned(),
            shown: crate::error::shown(url),
            validator: stream.info().validator.clone(),
            length: stream.info().length.unwrap_or(u64::MAX),
            unpacking: Arc::new(Unpacking::new(owner.clone(), to)),
            _is_read: is_read,
            memory: None,
            entered: false,
            open: Some(OpenRange {
                stream,
                at: 0,
                rest: Bytes::new(),
            }),
        }
    }

    /// The file's first 512 bytes, or fewer if it is shorter. The next read returns them again.
    pub(super) async fn head(&mut self) -> Result<Bytes, SourceError> {
        let Some(range) = self.open.as_mut().filter(|range| range.at == 0) else {
            return Ok(Bytes::new());
        };
        let mut head = BytesMut::from(range.rest.clone());
        while head.len() < HEAD
            && let Some(piece) = range.stream.next().await?
        {
            head.extend_from_slice(&piece);
            range.rest = head.clone().freeze();
        }
        Ok(range.rest.clone())
    }

    /// Checks that the source can be read at an offset. Some sources only show that when it is tried.
    pub(super) async fn is_enterable(&mut self) -> Result<(), SourceError> {
        if !self.entered {
            self.open = Some(self.enter(self.length / 2).await?);
        }
        Ok(())
    }

    /// Closes the current stream, so that a server does not wait while nothing is read.
    pub(super) fn leave(&mut self) {
        self.open = None;
    }

    /// Checks that the file is still the version that was opened first.
    pub(super) async fn unchanged(&mut self) -> Result<(), SourceError> {
        self.leave();
        let current = self.source.probe(&self.url).await?;
        if current.validator == self.validator {
            Ok(())
        } else {
            Err(self.error(SourceErrorKind::Changed, CHANGED))
        }
    }

    /// Counts bytes of the disk that are not in the file.
    pub(super) fn count(&self, bytes: u64) {
        self.unpacking.count(bytes);
    }

    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    async fn enter(&mut self, at: u64) -> Result<OpenRange, SourceError> {
        let validator = self.validator.as_deref();
        let stream = self.source.open_at(&self.url, at, validator).await?;
        if stream.info().validator != self.validator {
            return Err(self.error(SourceErrorKind::Changed, CHANGED));
        }
        if stream.starts_at() != at {
            return Err(self.error(SourceErrorKind::Appliance, NO_RANGES));
        }
        self.entered |= at > 0;
        Ok(OpenRange {
            stream,
            at,
            rest: Bytes::new(),
        })
    }

    fn busy(&self, why: &MemoryBusy) -> SourceError {
        self.error(SourceErrorKind::Transient, &why.to_string())
    }

    fn error(&self, kind: SourceErrorKind, message: &str) -> SourceError {
        SourceError {
            kind,
            url: self.shown.clone(),
            message: message.to_owned(),
        }
    }
}

const CHANGED: &str = "the image changed while it was read";
const NO_RANGES: &str = "the source cannot be entered in its middle";

impl Ranges for RangeReader {
    fn length(&self) -> u64 {
        self.length
    }

    async fn some(&mut self, at: u64, most: u64) -> Result<Bytes, SourceError> {
        let near = |open: &OpenRange| {
            let ahead = at.checked_sub(open.at);
            ahead.is_some_and(|ahead| ahead <= NEAR)
        };
        let mut range = match self.open.take().filter(near) {
            Some(range) => range,
            None => self.enter(at).await?,
        };
        loop {
            let skipped = at.saturating_sub(range.at).min(range.rest.len() as u64);
            range.skip(skipped);
            if !range.rest.is_empty() {
                let length = most.min(range.rest.len() as u64);
                let length = usize::try_from(length).unwrap_or(range.rest.len());
                let piece = range.rest.slice(..length);
                range.skip(length as u64);
                self.open = Some(range);
                return Ok(piece);
            }
            let next = self.unpacking.unless_ended(range.stream.next()).await;
            match next.map_err(|busy| self.busy(&busy))?? {
                Some(piece) => {
                    self.unpacking.count(piece.len() as u64);
                    range.rest = piece;
                }
                None => return Ok(Bytes::new()),
            }
        }
    }

    async fn reserve(&mut self, bytes: u64) -> Result<(), SourceError> {
        // A server must not wait for others.
        self.leave();
        let bytes = bytes.saturating_add(READ_MEMORY);
        let reserved = self.unpacking.reserve_aside(bytes).await;
        self.memory = Some(reserved.map_err(|busy| self.busy(&busy))?);
        Ok(())
    }
}

impl OpenRange {
    fn skip(&mut self, bytes: u64) {
        let skipped =
            usize::try_from(bytes).map_or(self.rest.len(), |skipped| skipped.min(self.rest.len()));
        self.rest.advance(skipped);
        self.at = self.at.saturating_add(skipped as u64);
    }
}
