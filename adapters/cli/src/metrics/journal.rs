//! A journal that measures the duration of its appends.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use vsiflow_engine::journal::{Append, Entry, Journal, JournalError, JournalLayer, Offset, Record};

use crate::output::folding::Folding;

/// A journal that measures the duration of the appends to `inner`.
pub(crate) struct Timed {
    pub(crate) inner: Arc<dyn Journal>,
    pub(crate) seconds: Histogram,
    /// Shows the progress while the index is rebuilt.
    pub(crate) folding: Option<Arc<Folding>>,
}

#[async_trait]
impl JournalLayer for Timed {
    fn inner(&self) -> &dyn Journal {
        &*self.inner
    }

    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        let begun = Instant::now();
        let written = self.inner.append(batch).await;
        self.seconds.observe(begun.elapsed().as_secs_f64());
        written
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        if let Some(folding) = &self.folding {
            folding.reach(from);
        }
        self.inner.read_entries(from, limit).await
    }
}
