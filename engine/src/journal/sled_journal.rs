//! The journal on a local disk.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;
use tokio::sync::RwLock;

use super::{
    Append, BatchLink, ChainedJournal, Horizon, Journal, JournalError, Offset, Record, Seal,
    Stored, StreamHead,
    original::Original,
    sled_applier::Applier,
    sled_replay::replay,
    sled_store::Store,
    sled_writer::{Reply, Request, Writer},
    stage::{Draft, Tip},
    tail::Tail,
};
use crate::{
    blocking::blocking,
    durable::{Durable, Sync},
    group_commit::GroupWriter,
    model::StreamId,
    permit::Permit,
};

/// A journal in a folder, kept by sled. One thread writes for all callers and syncs once for
/// everything that waits; readers see only what is durable.
///
/// What makes a batch durable is an append to the tail: sled takes the batch over a moment later
/// and is synced now and then. What sled lost of it is taken over again when the journal is opened.
///
/// A folder is opened by one process at a time: [`crate::state_dir`] sees to that.
///
/// After the first failure of the disk every call answers [`JournalError::Storage`]: what was
/// being written is then unknown until the journal is opened again. [`SledJournal::failed`]
/// tells the process to end.
///
/// Dropping it finishes what waits to be written and closes the folder, which may block for as
/// long as a sync takes; [`SledJournal::close`] does the same without blocking the runtime.
pub struct SledJournal {
    store: Arc<RwLock<Option<Store>>>,
    permit: Permit,
    writer: GroupWriter<Writer>,
}

impl SledJournal {
    /// Opens the journal in `dir`, or creates it. Takes time by what sled recovers, not by the
    /// number of events.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the folder cannot be read or written or another process has
    /// it open, [`JournalError::Newer`] for a newer layout, [`JournalError::Damaged`] when its
    /// end does not fit its chain.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_permitted(dir, Permit::always()).await
    }

    /// The same; before it writes it asks for the permit.
    pub(crate) async fn open_permitted(
        dir: impl AsRef<Path>,
        permit: Permit,
    ) -> Result<Self, JournalError> {
        let dir = dir.as_ref().to_owned();
        blocking(move || Self::start(dir, std::fs::File::sync_data, permit)).await
    }

    pub(crate) fn open_with(dir: PathBuf, sync: Sync) -> Result<Self, JournalError> {
        Self::start(dir, sync, Permit::always())
    }

    fn start(dir: PathBuf, sync: Sync, permit: Permit) -> Result<Self, JournalError> {
        let (durable, tail, store, tip) = open_kept(&dir, sync)?;
        let (shown, asked) = (store.clone(), permit.clone());
        let writer = GroupWriter::start("journal-writer", |failure| {
            let (durable, progress) = (durable.with(asked.clone()), store.progress().clone());
            let applier = Applier::start(durable, progress, failure).map_err(|e| no_tail(&e))?;
            Ok(Writer::new(tail, applier, store, tip, asked))
        })?;
        let store = shown;
        Ok(Self {
            store: Arc::new(RwLock::new(Some(store))),
            permit,
            writer,
        })
    }

    /// Waits until the disk fails; for ever where it does not. Cancel safe.
    pub async fn failed(&self) -> JournalError {
        self.writer.failed().await
    }

    /// From now on a write for which there is no room fails, where it would wait for it. For whoever
    /// is about to close: what waits for such a write could never end.
    pub fn wait_no_more(&self) {
        self.permit.close();
    }

    /// Finishes what waits to be written and closes the folder. Calls that come later answer
    /// [`JournalError::Closed`].
    ///
    /// Cancel safety: dropping the future leaves the closing to the journal's drop.
    pub async fn close(&self) {
        self.permit.close();
        self.writer.close().await;
        let store = self.store.write().await.take();
        // Only a runtime that is ending refuses this, and then the drop has happened.
        let _ = tokio::task::spawn_blocking(move || drop(store)).await;
    }

    /// Reads off the runtime. A disk that fails for a reader has failed for the writer too.
    async fn with_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        self.writer.check()?;
        let store = Arc::clone(&self.store);
        let read = move || {
            let store = store.blocking_read();
            let store = store.as_ref().ok_or(JournalError::Closed)?;
            store.catch_up()?;
            read(store)
        };
        let answer = blocking(read).await;
        if let Err(e @ JournalError::Storage(_)) = &answer {
            self.writer.fail(e);
        }
        answer
    }

    async fn write(&self, request: Request) -> Result<Reply, JournalError> {
        self.writer.write(request).await
    }
}

impl Drop for SledJournal {
    fn drop(&mut self) {
        self.permit.close();
    }
}

type Opened = (Durable, Tail, Store, Tip);

/// Opens the files, and leaves them as they were where they are damaged.
fn open_kept(dir: &Path, sync: Sync) -> Result<Opened, JournalError> {
    let original = match Original::keep(dir) {
        Ok(original) => original,
        // Better opened without a way back than not at all: the disk may just be full.
        Err(error) => {
            tracing::warn!(%error, "the journal is opened without a copy of its files");
            return open_files(dir, sync);
        }
    };
    let opened = open_files(dir, sync);
    let done = match &opened {
        Err(JournalError::Damaged { .. }) => original.put_back(),
        _ => original.forget(),
    };
    done.map_err(|e| JournalError::Storage(format!("{}: {e}", dir.display())))
        .and(opened)
}

fn open_files(dir: &Path, sync: Sync) -> Result<Opened, JournalError> {
    let durable = Durable::open(dir, sync)?;
    let (tail, found) = Tail::open(dir, sync).map_err(|e| no_tail(&e))?;
    let (store, tip) = replay(&durable, found)?;
    Ok((durable, tail, store, tip))
}

fn no_tail(error: &std::io::Error) -> JournalError {
    JournalError::Storage(format!("the newest events: {error}"))
}

fn unexpected() -> JournalError {
    JournalError::Storage("the writer answered another request".to_owned())
}

#[async_trait]
impl Journal for SledJournal {
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Record>, JournalError> {
        match self.write(Request::Append(Draft::all(batch)?)).await? {
            Reply::Appended(records) => Ok(records),
            Reply::Restored(_) => Err(unexpected()),
        }
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
        let read = move |store: &Store| {
            store
                .read_stored(from, limit)?
                .iter()
                .map(Stored::record)
                .collect()
        };
        self.with_store(read).await
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
impl ChainedJournal for SledJournal {
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

    async fn restore(&self, batch: Vec<Vec<u8>>) -> Result<Option<BatchLink>, JournalError> {
        let request = batch
            .into_iter()
            .map(Stored::parse)
            .collect::<Result<_, _>>()?;
        match self.write(Request::Restore(request)).await? {
            Reply::Restored(link) => Ok(link),
            Reply::Appended(_) => Err(unexpected()),
        }
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod crash_tests;
