//! A wrapper around a journal that overrides some of its calls.

use async_trait::async_trait;

use super::{
    Append, Entry, Journal, JournalError, Missing, Offset, Record, States, StatesUpdate, StreamHead,
};
use crate::model::{Hash, StreamId};

/// A journal that overrides some calls of an inner journal. Methods that it does not define, and all
/// other calls of [`Journal`], go to the inner journal.
#[async_trait]
pub trait JournalLayer: Send + Sync + 'static {
    /// The inner journal.
    fn inner(&self) -> &dyn Journal;

    /// See [`Journal::append`].
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        self.inner().append(batch).await
    }

    /// See [`Journal::read_entries`].
    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        self.inner().read_entries(from, limit).await
    }

    /// See [`Journal::states`].
    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        self.inner().states(at).await
    }

    /// See [`Journal::publish`].
    fn publish(&self, update: StatesUpdate) {
        self.inner().publish(update);
    }

    /// See [`Journal::wants_all_states`].
    fn wants_all_states(&self) -> bool {
        self.inner().wants_all_states()
    }

    /// See [`Journal::base_is_due`].
    fn base_is_due(&self) -> bool {
        self.inner().base_is_due()
    }

    /// See [`Journal::write_base`].
    async fn write_base(&self, states: States) -> Result<Option<Hash>, JournalError> {
        self.inner().write_base(states).await
    }
}

#[async_trait]
impl<L: JournalLayer> Journal for L {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        JournalLayer::append(self, batch).await
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        self.inner().read(stream, from_seq, limit).await
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        self.inner().read_all(from, limit).await
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        self.inner().streams().await
    }

    async fn read_entries(&self, from: Offset, limit: usize) -> Result<Vec<Entry>, JournalError> {
        JournalLayer::read_entries(self, from, limit).await
    }

    async fn states(&self, at: Option<Offset>) -> Result<States, JournalError> {
        JournalLayer::states(self, at).await
    }

    fn publish(&self, update: StatesUpdate) {
        JournalLayer::publish(self, update);
    }

    fn wants_all_states(&self) -> bool {
        JournalLayer::wants_all_states(self)
    }

    fn base_is_due(&self) -> bool {
        JournalLayer::base_is_due(self)
    }

    async fn write_base(&self, states: States) -> Result<Option<Hash>, JournalError> {
        JournalLayer::write_base(self, states).await
    }

    async fn missing(&self) -> Result<Vec<Missing>, JournalError> {
        self.inner().missing().await
    }
}
