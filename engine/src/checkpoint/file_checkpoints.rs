//! Checkpoints on a local disk.

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
    permit::Permit,
};

mod envelope;
mod slots;

/// What a file is called until it is whole.
const TEMPORARY: &str = "tmp";

/// Checkpoints in a folder of their own, a small file for each.
///
/// A crash leaves the old value or the new. One that cannot be believed counts as absent: checkpoints are hints.
///
/// After the first write or sync that fails nothing is written any more, and every call answers
/// [`JournalError::Storage`]; [`FileCheckpoints::failed`] tells the process to end. Dropping the
/// store finishes what waits to be written, which may block for as long as a sync takes;
/// [`FileCheckpoints::close`] does the same without blocking the runtime.
pub struct FileCheckpoints {
    dir: Arc<Path>,
    /// The files of each run: most have none, and to forget those costs nothing.
    runs: Arc<Mutex<CheckpointNames>>,
    closed: AtomicBool,
    permit: Permit,
    writer: GroupWriter<CheckpointWriter>,
}

/// And the sequence of what was written last, once something was.
type CheckpointNames = BTreeMap<RunId, BTreeMap<String, Option<u64>>>;

impl FileCheckpoints {
    /// Opens the store in `dir`, or creates it. One process at a time has it open.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the folder cannot be read or written.
    pub async fn open(dir: impl AsRef<Path>) -> Result<Self, JournalError> {
        Self::open_permitted(dir, Permit::always()).await
    }

    /// The same; before it writes it asks for the permit.
    pub(crate) async fn open_permitted(
        dir: impl AsRef<Path>,
        permit: Permit,
    ) -> Result<Self, JournalError> {
        let dir: Arc<Path> = dir.as_ref().into();
        blocking(move || {
            let found = files::create_dir(&dir).and_then(|()| find(&dir));
            let runs = Arc::new(Mutex::new(found.map_err(|e| storage(&dir, &e))?));
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

    /// Waits until the disk fails; for ever where it does not. Cancel safe.
    pub async fn failed(&self) -> JournalError {
        self.writer.failed().await
    }

    /// From now on a write for which there is no room fails, where it would wait for it. For whoever
    /// is about to close: what waits for such a write could never end.
    pub fn wait_no_more(&self) {
        self.permit.close();
    }

    /// Finishes what waits to be written. Calls that come later answer [`JournalError::Closed`].
    ///
    /// Cancel safety: dropping the future leaves the closing to the store's drop.
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
        // Before it is written: whoever forgets the run waits for it then.
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

/// Run and node, of which the node's name is whatever a workflow calls it.
fn file_name(run: RunId, node: &Name) -> String {
    let hash = crate::model::Hash::of(node.as_str().as_bytes());
    format!("{run}-{hash}")
}

/// What is there, without what a crash left half written.
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
    permit: Permit,
}

impl CheckpointWriter {
    /// Whether the folder has to be synced.
    fn put(&self, run: RunId, node: &Name, value: &[u8]) -> io::Result<bool> {
        let name = file_name(run, node);
        let known = lock(&self.runs)
            .get(&run)
            .and_then(|files| *files.get(&name)?);
        let path = self.dir.join(&name);
        let slots = SlotsOf {
            path: &path,
            run,
            node,
        };
        let (sequence, is_new) = slots.put(known, value)?;
        let mut runs = lock(&self.runs);
        runs.entry(run).or_default().insert(name, Some(sequence));
        Ok(is_new)
    }

    fn forget(&self, run: RunId) -> io::Result<bool> {
        let files = lock(&self.runs).remove(&run).unwrap_or_default();
        let any = !files.is_empty();
        for name in files.into_keys() {
            match std::fs::remove_file(self.dir.join(name)) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(any)
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
            let done = match request {
                CheckpointRequest::Put { run, node, value } => self.put(run, &node, &value),
                CheckpointRequest::Forget(run) => self.forget(run),
            };
            names_changed |= done.map_err(|e| storage(&self.dir, &e))?;
        }
        if names_changed {
            files::sync_dir(&self.dir).map_err(|e| storage(&self.dir, &e))?;
        }
        Ok(answers)
    }
}

#[cfg(test)]
mod tests;
