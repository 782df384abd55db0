//! For whom an image is read. What its unpacking needs counts as that owner's.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::task::futures::TaskLocalFuture;
use vsiflow_steps::ports::{ImageSource, ImageStream, SourceError, SourceInfo};

/// An owner: a namespace, or a host that belongs to none.
pub(crate) type Owner = Arc<str>;

tokio::task_local! {
    static OWNER: Owner;
}

/// The owner for whom this task opens an image; empty if nobody said.
pub(crate) fn current() -> Owner {
    OWNER.try_with(Owner::clone).unwrap_or_default()
}

/// Opens images for an owner.
pub(crate) fn scope<F: Future>(owner: &Owner, opening: F) -> TaskLocalFuture<Owner, F> {
    OWNER.scope(owner.clone(), opening)
}

/// A source that reads for one owner. Owners share what the process has, such as memory for unpacking, in equal
/// parts.
pub struct OwnedSource {
    source: Arc<dyn ImageSource>,
    owner: Owner,
}

impl OwnedSource {
    /// Reads for this owner from now on.
    pub fn new(source: Arc<dyn ImageSource>, owner: &str) -> Self {
        let owner = owner.into();
        Self { source, owner }
    }
}

#[async_trait]
impl ImageSource for OwnedSource {
    async fn probe(&self, url: &str) -> Result<SourceInfo, SourceError> {
        scope(&self.owner, self.source.probe(url)).await
    }

    async fn open(&self, url: &str) -> Result<Box<dyn ImageStream>, SourceError> {
        let stream = scope(&self.owner, self.source.open(url)).await?;
        Ok(Box::new(self.owned(stream)))
    }

    async fn open_at(
        &self,
        url: &str,
        offset: u64,
        validator: Option<&str>,
    ) -> Result<Box<dyn ImageStream>, SourceError> {
        let opening = self.source.open_at(url, offset, validator);
        let stream = scope(&self.owner, opening).await?;
        Ok(Box::new(self.owned(stream)))
    }

    async fn expect(&self, url: &str) {
        self.source.expect(url).await;
    }

    async fn opened(&self, url: &str) {
        self.source.opened(url).await;
    }
}

impl OwnedSource {
    fn owned(&self, stream: Box<dyn ImageStream>) -> OwnedStream {
        let owner = self.owner.clone();
        OwnedStream { stream, owner }
    }
}

/// A stream that opens others for the same owner, as one does that leaves a shared read.
struct OwnedStream {
    stream: Box<dyn ImageStream>,
    owner: Owner,
}

#[async_trait]
impl ImageStream for OwnedStream {
    fn info(&self) -> &SourceInfo {
        self.stream.info()
    }

    fn starts_at(&self) -> u64 {
        self.stream.starts_at()
    }

    async fn next(&mut self) -> Result<Option<Bytes>, SourceError> {
        scope(&self.owner, self.stream.next()).await
    }
}
