//! A journal on a local disk, opened to be looked at.

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

use super::{
    Append, BatchLink, ChainedJournal, Journal, JournalError, Offset, Record, Stored, StreamHead,
    sled_replay::replay, sled_store::Store, tail::Tail,
};
use crate::{blocking::blocking, durable::Durable, model::StreamId};

/// The journal in a folder, for reading only: also one whose newest records or links are gone,
/// which [`SledJournal`](super::SledJournal) refuses to open.
///
/// A folder is opened by one process at a time: [`crate::state_dir`] sees to that.
pub struct SledInspector {
    shelf: Arc<Shelf>,
}

struct Shelf {
    store: Store,
    /// Keeps the database open.
    _durable: Durable,
}

impl SledInspector {
    /// Opens the journal in `dir`.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the folder cannot be read, [`JournalError::Newer`] for a
    /// newer layout, [`JournalError::Damaged`] when the store itself is.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, JournalError> {
        let dir = dir.as_ref().to_owned();
        blocking(move || {
            let durable = Durable::open(&dir, std::fs::File::sync_data)?;
            // What sled lost belongs to the journal. Where it does not fit, what is there is shown
            // as it is.
            if let Ok((_, found)) = Tail::open(&dir, std::fs::File::sync_data) {
                let _ = replay(&durable, found);
            }
            let store = Store::inspect(durable.tree().clone())?;
            let shelf = Shelf {
                store,
                _durable: durable,
            };
            Ok(Self {
                shelf: Arc::new(shelf),
            })
        })
        .await
    }

    /// Closes the folder without blocking the runtime.
    pub async fn close(self) {
        // Only a runtime that is ending refuses this, and then the drop has happened.
        let _ = tokio::task::spawn_blocking(move || drop(self)).await;
    }

    async fn with_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let shelf = Arc::clone(&self.shelf);
        blocking(move || read(&shelf.store)).await
    }
}

fn read_only() -> JournalError {
    JournalError::Storage("the journal was opened for reading only".to_owned())
}

#[async_trait]
impl Journal for SledInspector {
    async fn append(&self, _batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        Err(read_only())
    }

    async fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let stream = stream.clone();
        self.with_store(move |store| store.read(&stream, from_seq, limit))
            .await
    }

    async fn read_all(&self, from: Offset, limit: usize) -> Result<Vec<Record>, JournalError> {
        let page = self.read_stored(from, limit).await?;
        page.iter().map(Stored::record).collect()
    }

    async fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        self.with_store(Store::heads).await
    }
}

#[async_trait]
impl ChainedJournal for SledInspector {
    async fn read_stored(&self, from: Offset, limit: usize) -> Result<Vec<Stored>, JournalError> {
        self.with_store(move |store| store.read_stored(from, limit))
            .await
    }

    async fn read_links(&self, from: Offset, limit: usize) -> Result<Vec<BatchLink>, JournalError> {
        self.with_store(move |store| store.read_links(from, limit))
            .await
    }

    async fn head(&self) -> Result<Option<BatchLink>, JournalError> {
        self.with_store(Store::head_link).await
    }

    async fn restore(&self, _batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        Err(read_only())
    }
}
