//! A journal on a local disk, opened to be looked at.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

use super::{
    Append, BatchLink, ChainedJournal, Horizon, Journal, JournalError, Offset, Record, Seal,
    Stored, StreamHead, original, sled_replay::replay, sled_store::Store, tail::Tail,
};
use crate::{blocking::blocking, durable::Durable, model::StreamId};

/// The journal in a folder, for reading only: also one whose newest records or links are gone,
/// which [`SledJournal`](super::SledJournal) refuses to open.
///
/// Sled mends what it opens, so a copy of the files is opened, which takes as much room as they do
/// (none where the file system shares blocks) and is gone afterwards.
///
/// A folder is opened by one process at a time: [`crate::state_dir`] sees to that.
pub struct SledInspector {
    shelf: Arc<Shelf>,
}

struct Shelf {
    store: Store,
    /// Keeps the database open.
    _durable: Durable,
    /// Removed last.
    _copy: Copy,
}

/// A copy of the files, for as long as this lives.
struct Copy(PathBuf);

impl Copy {
    /// One that a killed process left is replaced.
    fn of(dir: &Path) -> io::Result<Self> {
        let copy = Self(dir.join("inspected"));
        original::remove(&copy.0)?;
        original::copy(dir, &copy.0)?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        if let Err(error) = original::remove(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a copy of the journal is left");
        }
    }
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
            let copy = Copy::of(&dir)
                .map_err(|e| JournalError::Storage(format!("{}: {e}", dir.display())))?;
            let durable = Durable::open(&copy.0, std::fs::File::sync_data)?;
            // What sled lost belongs to the journal. Where it does not fit, what is there is shown
            // as it is.
            if let Ok((_, found)) = Tail::open(&copy.0, std::fs::File::sync_data) {
                let _ = replay(&durable, found);
            }
            let store = Store::inspect(durable.tree().clone())?;
            let shelf = Shelf {
                store,
                _durable: durable,
                _copy: copy,
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

    async fn horizon(&self) -> Result<Option<Horizon>, JournalError> {
        self.with_store(|store| Ok(store.horizon())).await
    }

    async fn seal(&self, stream: &StreamId) -> Result<Option<Seal>, JournalError> {
        let stream = stream.clone();
        self.with_store(move |store| store.seal(&stream)).await
    }

    async fn seals(
        &self,
        after: Option<&StreamId>,
        limit: usize,
    ) -> Result<Vec<Seal>, JournalError> {
        let after = after.cloned();
        self.with_store(move |store| store.seals(after.as_ref(), limit))
            .await
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
