//! A state directory that is being created from an export or a backup.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    BLOBS, INDEX, LOCK, LOG, SECRETS, SPARE, StateDir, StateDirError, find_data, format,
    lock::Lock, remove,
};
use crate::{
    blob::DirBlobs, files, journal::DiskJournal, lease::Lease, room::Room, secret::DirSecrets,
};

/// A state directory that is being filled.
///
/// Until [`Rebuilding::finish`] it has no `FORMAT`, so a process that dies in the middle leaves a
/// folder that is not mistaken for a journal.
#[derive(Debug)]
pub struct Rebuilding {
    path: PathBuf,
    format: format::Format,
    lock: Lock,
}

impl Rebuilding {
    /// Begins in a folder that is missing or empty, for a journal with that identity. Blocks.
    ///
    /// # Errors
    /// [`StateDirError::Damaged`] when the folder is not empty; otherwise see [`StateDirError`].
    pub fn begin(path: impl AsRef<Path>, journal_id: &str) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
        // Checked before taking the lock, which would create its file in a folder of someone else.
        check_empty(path)?;
        files::create_dir(path).map_err(io("created"))?;
        let lock = Lock::take(path)?;
        check_empty(path)?;
        for room in [BLOBS, SECRETS] {
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
    /// The errors of [`DiskJournal::open`].
    pub async fn journal(&self) -> Result<DiskJournal, StateDirError> {
        let opened = DiskJournal::open(&self.path, &self.format.journal).await;
        opened.map_err(|e| StateDirError::journal(&self.path.join(LOG), e))
    }

    /// Makes it another incarnation of the journal, which only observes.
    pub fn observe_only(&mut self, incarnation: u32) {
        self.format.incarnation = incarnation;
        self.format.observe_only = true;
    }

    /// The secrets to be filled.
    ///
    /// # Errors
    /// When their folder cannot be created.
    pub async fn secrets(&self) -> Result<DirSecrets, StateDirError> {
        let path = self.path.join(SECRETS);
        let opened = DirSecrets::open(&path).await;
        opened.map_err(|e| StateDirError::io(&path, "opened", &io::Error::other(e)))
    }

    /// The blobs to be filled.
    ///
    /// # Errors
    /// When their folder cannot be created.
    pub async fn blobs(&self) -> Result<DirBlobs, StateDirError> {
        let path = self.path.join(BLOBS);
        let opened = DirBlobs::open(&path).await;
        opened.map_err(|e| StateDirError::journal(&path, e))
    }

    /// Makes it a state directory. Everything opened in it must be closed before. Blocks.
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
            lock: Some(self.lock),
        })
    }

    /// Removes everything that was created, so that the next try finds the folder empty. Everything
    /// opened in it must be closed before. Blocks.
    ///
    /// # Errors
    /// When something cannot be removed.
    pub fn abandon(self) -> Result<(), StateDirError> {
        let rooms = [LOG, INDEX, BLOBS, SECRETS].map(|room| remove(&self.path.join(room)));
        let files = [SPARE, LOCK].map(|file| match std::fs::remove_file(self.path.join(file)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        });
        let removed = rooms.into_iter().chain(files).collect::<io::Result<()>>();
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
