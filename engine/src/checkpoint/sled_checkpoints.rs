//! Checkpoints on a local disk.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::RwLock;
use ulid::Ulid;

use super::{Checkpoints, check};
use crate::{
    blocking::blocking,
    durable::{Durable, sled_error},
    group_commit::{Commit, GroupWriter},
    journal::JournalError,
    model::{Name, RunId},
    permit::Permit,
};

/// Checkpoints in a folder of their own, kept by sled in the same durable way as the journal.
///
/// They are apart from the journal because they are overwritten, which moves sled's pages about.
/// Failing and closing are as for [`crate::journal::SledJournal`].
pub struct SledCheckpoints {
    tree: Arc<RwLock<Option<sled::Tree>>>,
    /// The runs that have anything here: most have not, and to forget those costs nothing.
    runs: Mutex<HashSet<RunId>>,
    permit: Permit,
    writer: GroupWriter<Writer>,
}

impl SledCheckpoints {
    /// Opens the store in `dir`, or creates it.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the folder cannot be read or written or another process has
    /// it open.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_permitted(dir, Permit::always()).await
    }

    /// The same; before it writes it asks for the permit.
    pub(crate) async fn open_permitted(
        dir: impl AsRef<Path>,
        permit: Permit,
    ) -> Result<Self, JournalError> {
        let dir = dir.as_ref().to_owned();
        blocking(move || {
            let durable = Durable::open(&dir, std::fs::File::sync_data)?.with(permit.clone());
            let runs = Mutex::new(runs_of(durable.tree())?);
            let tree = Arc::new(RwLock::new(Some(durable.tree().clone())));
            let writer = GroupWriter::start("checkpoint-writer", |_| Ok(Writer { durable }))?;
            Ok(Self {
                tree,
                runs,
                permit,
                writer,
            })
        })
        .await
    }

    fn runs(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
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

    /// Finishes what waits to be written and closes the folder.
    ///
    /// Cancel safety: dropping the future leaves the closing to the store's drop.
    pub async fn close(&self) {
        self.permit.close();
        self.writer.close().await;
        let tree = self.tree.write().await.take();
        // Only a runtime that is ending refuses this, and then the drop has happened.
        let _ = tokio::task::spawn_blocking(move || drop(tree)).await;
    }
}

impl Drop for SledCheckpoints {
    fn drop(&mut self) {
        self.permit.close();
    }
}

#[async_trait]
impl Checkpoints for SledCheckpoints {
    async fn put(&self, run: RunId, node: &Name, value: Vec<u8>) -> Result<(), JournalError> {
        check(run, &value)?;
        self.runs().insert(run);
        self.writer
            .write(Request::Put {
                key: key(run, node),
                value,
            })
            .await
    }

    async fn get(&self, run: RunId, node: &Name) -> Result<Option<Vec<u8>>, JournalError> {
        self.writer.check()?;
        let (tree, key) = (Arc::clone(&self.tree), key(run, node));
        blocking(move || {
            let tree = tree.blocking_read();
            let tree = tree.as_ref().ok_or(JournalError::Closed)?;
            Ok(tree
                .get(key)
                .map_err(sled_error)?
                .map(|value| value.to_vec()))
        })
        .await
    }

    async fn forget(&self, run: RunId) -> Result<(), JournalError> {
        self.writer.check()?;
        if !self.runs().contains(&run) {
            return Ok(());
        }
        self.writer.write(Request::Forget(run)).await?;
        self.runs().remove(&run);
        Ok(())
    }
}

/// Run and node: a run's keys stand together.
fn key(run: RunId, node: &Name) -> Vec<u8> {
    let mut key = run.0.to_bytes().to_vec();
    key.extend_from_slice(node.as_str().as_bytes());
    key
}

/// The runs that keys begin with.
fn runs_of(tree: &sled::Tree) -> Result<HashSet<RunId>, JournalError> {
    let run = |key: sled::Result<sled::IVec>| {
        let key = key.map_err(sled_error)?;
        Ok(key.first_chunk().map(|run| RunId(Ulid::from_bytes(*run))))
    };
    tree.iter()
        .keys()
        .map(run)
        .filter_map(Result::transpose)
        .collect()
}

enum Request {
    Put { key: Vec<u8>, value: Vec<u8> },
    Forget(RunId),
}

struct Writer {
    durable: Durable,
}

impl Writer {
    /// Forgetting looks for what is kept, so that what waits before it has to be applied first.
    fn forget(&self, run: RunId) -> Result<sled::Batch, JournalError> {
        let mut batch = sled::Batch::default();
        for key in self.durable.tree().scan_prefix(run.0.to_bytes()).keys() {
            batch.remove(key.map_err(sled_error)?);
        }
        Ok(batch)
    }
}

impl Commit for Writer {
    type Request = Request;
    type Reply = ();

    fn weight(request: &Request) -> usize {
        match request {
            Request::Put { key, value } => key.len().saturating_add(value.len()),
            Request::Forget(_) => 1024,
        }
    }

    fn commit(
        &mut self,
        group: Vec<Request>,
    ) -> Result<Vec<Result<(), JournalError>>, JournalError> {
        let answers = group.iter().map(|_| Ok(())).collect();
        let mut batch = sled::Batch::default();
        for request in group {
            match request {
                Request::Put { key, value } => batch.insert(key, value),
                Request::Forget(run) => {
                    self.durable.apply(std::mem::take(&mut batch))?;
                    self.durable.apply(self.forget(run)?)?;
                }
            }
        }
        self.durable.commit(batch)?;
        Ok(answers)
    }
}
