//! A journal whose appends are timed.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use vsiflow_engine::{
    journal::{Append, Horizon, Journal, JournalError, Offset, Record, Seal, StreamHead},
    model::StreamId,
};

/// The journal it was made of, timed.
pub(crate) struct Timed {
    pub(crate) inner: Arc<dyn Journal>,
    pub(crate) seconds: Histogram,
}

#[async_trait]
impl Journal for Timed {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let begun = Instant::now();
        let written = self.inner.append(batch).await;
        self.seconds.observe(begun.elapsed().as_secs_f64());
        written
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        self.inner.read(stream, from_seq, limit).await
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        self.inner.read_all(from, limit).await
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        self.inner.streams().await
    }

    async fn horizon(&self) -> Result<Option<Horizon>, JournalError> {
        self.inner.horizon().await
    }

    async fn seal(&self, stream: &StreamId) -> Result<Option<Seal>, JournalError> {
        self.inner.seal(stream).await
    }

    async fn seals(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<Seal>, JournalError> {
        self.inner.seals(after, limit).await
    }
}
