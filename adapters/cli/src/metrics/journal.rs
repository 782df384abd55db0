//! A journal whose appends are timed.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use vsiflow_engine::{
    journal::{
        Append, Entry, Journal, JournalError, Missing, Offset, Record, States, StatesUpdate,
        StreamHead,
    },
    model::{Hash, StreamId},
};

use crate::output::folding::Folding;

/// The journal it was made of, timed.
pub(crate) struct Timed {
    pub(crate) inner: Arc<dyn Journal>,
    pub(crate) seconds: Histogram,
    /// Where the index is made again: who is shown how far that is.
    pub(crate) folding: Option<Arc<Folding>>,
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

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        if let Some(folding) = &self.folding {
            folding.reach(from);
        }
        self.inner.read_entries(from, limit).await
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        self.inner.states(at).await
    }

    fn publish(&self, update: StatesUpdate) {
        self.inner.publish(update);
    }

    fn wants_all_states(&self) -> bool {
        self.inner.wants_all_states()
    }

    fn base_is_due(&self) -> bool {
        self.inner.base_is_due()
    }

    async fn write_base(&self, states: States) -> Result<Option<Hash>, JournalError> {
        self.inner.write_base(states).await
    }

    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        self.inner.missing().await
    }
}
