//! A read-only view of a journal as it was at an earlier offset.

use std::sync::Arc;

use async_trait::async_trait;

use super::{Append, Entry, Journal, JournalError, Missing, Offset, Record, States, StreamHead};
use crate::model::StreamId;

/// Shows only the events before an offset, and refuses appends.
pub struct JournalAsOf {
    inner: Arc<dyn Journal>,
    end: Offset,
}

impl JournalAsOf {
    /// The events of `inner` before `end`.
    pub fn new(inner: Arc<dyn Journal>, end: Offset) -> Self {
        Self { inner, end }
    }

    fn cut(&self, mut records: Vec<Record>) -> Vec<Record> {
        records.retain(|record| record.offset < self.end);
        records
    }
}

#[async_trait]
impl Journal for JournalAsOf {
    async fn append(&self, _: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        Err(JournalError::Closed)
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        Ok(self.cut(self.inner.read(stream, from_seq, limit).await?))
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        Ok(self.cut(self.inner.read_all(from, limit).await?))
    }

    /// The streams of the whole journal with their current heads, not those at the offset.
    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        self.inner.streams().await
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        let mut entries = self.inner.read_entries(from, limit).await?;
        entries.retain(|entry| entry.offset() < self.end);
        Ok(entries)
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        let limit = at.map_or(self.end, |as_of| as_of.min(self.end));
        self.inner.states(Some(limit)).await
    }

    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        let mut missing = self.inner.missing().await?;
        missing.retain(|range| range.from < self.end);
        Ok(missing)
    }
}
