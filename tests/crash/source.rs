//! A simulated image source behind the crash gate, which delivers small pieces.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use vsiflow_steps::{
    ports::{ImageSource, ImageStream, SourceError, SourceInfo},
    sim::SimSource,
};

use super::gate::{CallKind, CrashGate};

/// An image's length: three pieces.
const SIZE: u64 = 8 * 1024;
const PIECE: usize = 3 * 1024;

type OpenedSource = Result<Box<dyn ImageStream>, SourceError>;

/// A simulated source. Its pieces are small enough to be hashed on the same thread, so every run is alike.
pub struct GatedSource {
    inner: SimSource,
    gate: Arc<CrashGate>,
}

impl GatedSource {
    pub fn new(gate: &Arc<CrashGate>) -> Self {
        let (inner, gate) = (SimSource::with_size(SIZE), gate.clone());
        Self { inner, gate }
    }

    async fn cut(
        &self,
        opening: impl Future<Output = OpenedSource> + Send + 'static,
    ) -> OpenedSource {
        let stream = self
            .gate
            .pass(|| "open source".to_owned(), CallKind::Plain, opening)
            .await?;
        let rest = Bytes::new();
        Ok(Box::new(GatedStream { stream, rest }))
    }
}

#[async_trait]
impl ImageSource for GatedSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        let (inner, url) = (self.inner, url.to_owned());
        let work = async move { inner.probe(&url).await };
        self.gate
            .pass(|| "probe source".to_owned(), CallKind::Plain, work)
            .await
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        let (inner, url) = (self.inner, url.to_owned());
        let work = async move { inner.open(&url).await };
        self.cut(work).await
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let (inner, url) = (self.inner, url.to_owned());
        let validator = validator.map(str::to_owned);
        let work = async move { inner.open_at(&url, offset, validator.as_deref()).await };
        self.cut(work).await
    }
}

struct GatedStream {
    stream: Box<dyn ImageStream>,
    rest: Bytes,
}

#[async_trait]
impl ImageStream for GatedStream {
    fn info(&self) -> &SourceInfo {
        self.stream.info()
    }

    fn starts_at(&self) -> u64 {
        self.stream.starts_at()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.rest.is_empty() {
            match self.stream.next().await? {
                Some(bytes) => self.rest = bytes,
                None => return Ok(None),
            }
        }
        let piece = PIECE.min(self.rest.len());
        Ok(Some(self.rest.split_to(piece)))
    }
}
