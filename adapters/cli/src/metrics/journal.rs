//! A journal whose appends are timed.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;
use prometheus_client::metrics::histogram::Histogram;
use vsiflow_engine::journal::{Append, Entry, Journal, JournalError, JournalLayer, Offset, Record};

use crate::output::folding::Folding;

/// The journal it was made of, timed.
pub(crate) struct Timed {
    pub(crate) inner: Arc<dyn Journal>,
    pub(crate) seconds: Histogram,
    /// Where the index is made again: who is shown how far that is.
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
