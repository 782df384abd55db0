//! A state directory in the making, and one opened to be looked at.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    BLOBS, JOURNAL, LOCK, SECRETS, StateDir, StateDirError, find_data, format, lock::Lock,
};
use crate::{
    blob::DirBlobs,
    durable, files,
    journal::{SledInspector, SledJournal},
    lease::Lease,
    room::Room,
    secret::DirSecrets,
};

impl StateDir {
    /// Opens the journal for reading only, also one whose end does not fit its chain.
    ///
    /// # Errors
    /// As for [`StateDir::journal`].
    pub async fn inspect(&self) -> Result<SledInspector, StateDirError> {
        let path = self.path.join(JOURNAL);
        if !durable::data_file(&path).is_file() {
            return Err(StateDirError::damaged(&path, "the journal is gone"));
        }
        let opened = SledInspector::open(&path).await;
        opened.map_err(|e| StateDirError::journal(&path, e))
    }
}

/// A state directory that is being filled from an export.
///
/// Until [`Rebuilding::finish`] it has no `FORMAT`, so that a process that died in the middle
/// leaves a folder nobody takes for a journal.
#[derive(Debug)]
pub struct Rebuilding {
    path: PathBuf,
    format: format::Format,
    lock: Lock,
}

impl Rebuilding {
    /// Begins in a folder that is missing or empty, for a journal of that identity. Blocks.
    ///
    /// # Errors
    /// [`StateDirError::Damaged`] when something is there; otherwise see [`StateDirError`].
    pub fn begin(path: impl AsRef<Path>, journal_id: &str) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
        // Before the lock, which would leave its file in somebody else's folder.
        check_empty(path)?;
        files::create_dir(path).map_err(io("created"))?;
        let lock = Lock::take(path)?;
        check_empty(path)?;
        for room in [JOURNAL, BLOBS, SECRETS] {
            files::create_dir(&path.join(room)).map_err(io("created"))?;
        }
        Ok(Self {
            path: path.to_owned(),
            format: format::Format::of(journal_id.to_owned()),
            lock,
        })
    }

    /// The journal to be filled.
    ///
    /// # Errors
    /// What [`SledJournal::open`] says.
    pub async fn journal(&self) -> Result<SledJournal, StateDirError> {
        let path = self.path.join(JOURNAL);
        let opened = SledJournal::open(&path).await;
        opened.map_err(|e| StateDirError::journal(&path, e))
    }

    /// What is made is another incarnation of the journal, and observes only.
    pub fn observe_only(&mut self, incarnation: u32) {
        self.format.incarnation = incarnation;
        self.format.observe_only = true;
    }

    /// The secrets to be filled.
    ///
    /// # Errors
    /// When their folder cannot be made.
    pub async fn secrets(&self) -> Result<DirSecrets, StateDirError> {
        let path = self.path.join(SECRETS);
        let opened = DirSecrets::open(&path).await;
        opened.map_err(|e| StateDirError::io(&path, "opened", &io::Error::other(e)))
    }

    /// The blobs to be filled.
    ///
    /// # Errors
    /// When their folder cannot be made.
    pub async fn blobs(&self) -> Result<DirBlobs, StateDirError> {
        let path = self.path.join(BLOBS);
        let opened = DirBlobs::open(&path).await;
        opened.map_err(|e| StateDirError::journal(&path, e))
    }

    /// Makes it a state directory; everything in it was closed before. Blocks.
    ///
    /// # Errors
    /// When `FORMAT` cannot be written.
    pub fn finish(self) -> Result<StateDir, StateDirError> {
        let written = format::write(&self.path, &self.format);
        written.map_err(|e| StateDirError::io(&self.path, "written", &e))?;
        Ok(StateDir {
            room: Room::open(&self.path),
            lease: Lease::endless(),
            path: self.path,
            format: self.format,
            _lock: self.lock,
        })
    }

    /// Removes what was made, everything closed before, so that another try finds the folder
    /// empty. Blocks.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn abandon(self) -> Result<(), StateDirError> {
        let removed = [JOURNAL, BLOBS, SECRETS]
            .map(|room| std::fs::remove_dir_all(self.path.join(room)))
            .into_iter()
            .chain([std::fs::remove_file(self.path.join(LOCK))])
            .collect::<io::Result<()>>();
        removed.map_err(|e| StateDirError::io(&self.path, "cleared", &e))
    }
}

fn check_empty(path: &Path) -> Result<(), StateDirError> {
    match find_data(path) {
        Ok(None) => Ok(()),
        Ok(Some(found)) => Err(StateDirError::damaged(
            path,
            format!("it is not empty: it holds {found}"),
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(StateDirError::io(path, "read", &e)),
    }
}
