//! Stores checkpoints on a local disk.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;

use self::slots::SlotsOf;
use super::{Checkpoints, check};
use crate::{
    blocking::blocking,
    files,
    group_commit::{Commit, CommitRequest, GroupWriter, Requests},
    journal::JournalError,
    model::{Name, RunId},
    permit::WritePermit,
};

mod envelope;
mod slots;

/// The extension of a file until it is complete.
const TEMPORARY: &str = "tmp";

/// Checkpoints in their own folder, one small file each.
///
/// A crash leaves either the old value or the new. A damaged value counts as absent: checkpoints
/// are hints.
///
/// After the first failed write or sync nothing more is written, and every call returns
/// [`JournalError::Storage`]; the process should end when [`FileCheckpoints::failed`] returns.
/// Dropping the store finishes the waiting writes, which may block for as long as a sync takes;
/// [`FileCheckpoints::close`] does the same without blocking the runtime.
pub struct FileCheckpoints {
    dir: Arc<Path>,
    /// The files of each run. Most runs have none, so deleting their checkpoints costs nothing.
    runs: Arc<Mutex<CheckpointNames>>,
    closed: AtomicBool,
    permit: WritePermit,
    writer: GroupWriter<CheckpointWriter>,
}

/// For each file the sequence of its newest value, once this process has written one.
type CheckpointNames = BTreeMap<RunId, BTreeMap<String, Option<u64>>>;

impl FileCheckpoints {
    /// Opens the store in `dir`, or creates it. Only one process at a time may have it open.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the folder cannot be read or written.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_permitted(dir, WritePermit::always()).await
    }

    /// The same, but every write needs the permit.
    pub(crate) async fn open_permitted(
        dir: impl AsRef<Path>,
        permit: WritePermit,
    ) -> Result<Self, JournalError> {
        let dir: Arc<Path> = dir.as_ref().into();
        blocking(move || {
            let names = files::create_dir(&dir).and_then(|()| find(&dir));
            let runs = Arc::new(Mutex::new(names.map_err(|e| storage(&dir, &e))?));
            let writer = CheckpointWriter {
                dir: Arc::clone(&dir),
                runs: Arc::clone(&runs),
                permit: permit.clone(),
            };
            let writer = GroupWriter::start("checkpoint-writer", Requests::default(), writer)?;
            let closed = AtomicBool::new(false);
            Ok(Self {
                dir,
                runs,
                closed,
                permit,
                writer,
            })
        })
        .await
    }

    /// Waits until the disk fails; pending forever if it does not. Cancel safe.
    pub async fn failed(&self) -> JournalError {
        self.writer.failed().await
    }

    /// Makes writes fail that would otherwise wait for disk space. Call it before closing, because
    /// a write that waits might never end.
    pub fn wait_no_more(&self) {
        self.permit.close();
    }

    /// Finishes the waiting writes. Later calls return [`JournalError::Closed`].
    ///
    /// Cancel safety: dropping the future leaves the closing to the drop of the store.
    pub async fn close(&self) {
        self.permit.close();
        self.closed.store(true, Ordering::Release);
        self.writer.close().await;
    }

    fn check(&self) -> Result<(), JournalError> {
        self.writer.check()?;
        if self.closed.load(Ordering::Acquire) {
            Err(JournalError::Closed)
        } else {
            Ok(())
        }
    }
}

impl Drop for FileCheckpoints {
    fn drop(&mut self) {
        self.permit.close();
    }
}

#[async_trait]
impl Checkpoints for FileCheckpoints {
    async fn put(&self, run: RunId, node: &Name, value: Vec<u8>) -> Result<(), JournalError> {
        check(run, &value)?;
        self.check()?;
        // Noted before it is written, so that `forget` of the run waits for this write.
        lock(&self.runs).entry(run).or_default();
        let node = node.clone();
        self.writer
            .write(CheckpointRequest::Put { run, node, value })
            .await
    }

    async fn get(&self, run: RunId, node: &Name) -> Result<Option<Vec<u8>>, JournalError> {
        self.check()?;
        let (path, node) = (self.dir.join(file_name(run, node)), node.clone());
        blocking(move || {
            let slots = SlotsOf {
                path: &path,
                run,
                node: &node,
            };
            let newest = slots.newest().map_err(|e| storage(&path, &e))?;
            Ok(newest.map(|(_, value)| value))
        })
        .await
    }

    async fn forget(&self, run: RunId) -> Result<(), JournalError> {
        self.check()?;
        if !lock(&self.runs).contains_key(&run) {
            return Ok(());
        }
        self.writer.write(CheckpointRequest::Forget(run)).await
    }
}

/// The file name has the run and a hash of the node's name, because that name can be anything.
fn file_name(run: RunId, node: &Name) -> String {
    let hash = crate::model::Hash::of(node.as_str().as_bytes());
    format!("{run}-{hash}")
}

/// Lists the checkpoints in the folder and removes files that a crash left incomplete.
fn find(dir: &Path) -> io::Result<CheckpointNames> {
    let mut runs = CheckpointNames::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == TEMPORARY) {
            std::fs::remove_file(&path)?;
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str());
        let run = name.and_then(|name| name.split_once('-')?.0.parse().ok());
        if let (Some(run), Some(name)) = (run, name) {
            let files = runs.entry(run).or_default();
            files.insert(name.to_owned(), None);
        }
    }
    Ok(runs)
}

fn storage(path: &Path, error: &io::Error) -> JournalError {
    JournalError::Storage(format!("{}: {error}", path.display()))
}

fn lock(runs: &Mutex<CheckpointNames>) -> MutexGuard<'_, CheckpointNames> {
    runs.lock().unwrap_or_else(PoisonError::into_inner)
}

enum CheckpointRequest {
    Put {
        run: RunId,
        node: Name,
        value: Vec<u8>,
    },
    Forget(RunId),
}

struct CheckpointWriter {
    dir: Arc<Path>,
    runs: Arc<Mutex<CheckpointNames>>,
    permit: WritePermit,
}

impl CheckpointWriter {
    /// Returns whether the folder has to be synced.
    fn put(&self, run: RunId, node: &Name, value: &[u8]) -> io::Result<bool> {
        let name = file_name(run, node);
        let last = lock(&self.runs)
            .get(&run)
            .and_then(|files| *files.get(&name)?);
        let path = self.dir.join(&name);
        let slots = SlotsOf {
            path: &path,
            run,
            node,
        };
        let (sequence, is_new) = slots.put(last, value)?;
        let mut runs = lock(&self.runs);
        runs.entry(run).or_default().insert(name, Some(sequence));
        Ok(is_new)
    }

    fn forget(&self, run: RunId) -> io::Result<bool> {
        let files = lock(&self.runs).remove(&run).unwrap_or_default();
        let had_files = !files.is_empty();
        for name in files.into_keys() {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(had_files)
    }
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension(TEMPORARY)
}

impl CommitRequest for CheckpointRequest {
    fn weight(&self) -> usize {
        match self {
            Self::Put { value, .. } => value.len(),
            Self::Forget(_) => 1024,
        }
    }
}

impl Commit for CheckpointWriter {
    type Stage = Requests<CheckpointRequest>;
    type Reply = ();

    fn commit(
        &mut self,
        group: Vec<CheckpointRequest>,
    ) -> Result<Vec<Result<(), JournalError>>, JournalError> {
        self.permit.to_grow()?;
        let answers = group.iter().map(|_| Ok(())).collect();
        let mut names_changed = false;
        for request in group {
            let result = match request {
                CheckpointRequest::Put { run, node, value } => self.put(run, &node, &value),
                CheckpointRequest::Forget(run) => self.forget(run),
            };
            names_changed |= result.map_err(|e| storage(&self.dir, &e))?;
        }
        if names_changed {
            files::sync_dir(&self.dir).map_err(|e| storage(&self.dir, &e))?;
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests;
