//! The marker: a file that exists only while an index is being opened for writing.
//!
//! The opening process holds a lock on it. A marker without a lock was left by a process that died
//! while it opened the index, or that found the index hanging. The index should not be opened again
//! then. The marker is meant for the death of a process, not of the machine: nothing is synced.

use std::{
    ffi::OsString,
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use super::Unusable;

/// How often a process that waits for another opening checks again.
const RETRY_DELAY: Duration = Duration::from_millis(10);

/// A marker that this process has locked. Dropping it removes the file.
pub(super) struct OpeningMarker {
    path: PathBuf,
    _locked: File,
}

impl OpeningMarker {
    /// Sets the marker, and returns whether a marker was left before. Waits for the opening by
    /// another process, for at most `patience`.
    pub(super) fn set(dir: &Path, patience: Duration) -> Result<(Self, bool), Unusable> {
        let path = path(dir);
        let until = Instant::now().checked_add(patience);
        loop {
            if let Some((file, left)) = try_lock(&path)? {
                let marker = Self {
                    path,
                    _locked: file,
                };
                return Ok((marker, left));
            }
            if until.is_none_or(|until| Instant::now() >= until) {
                return Err(Unusable::InUse);
            }
            std::thread::sleep(RETRY_DELAY);
        }
    }
}

impl Drop for OpeningMarker {
    fn drop(&mut self) {
        // A marker that cannot be removed costs a rebuild of the index.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The locked file and whether it existed before; none while another process holds it.
fn try_lock(path: &Path) -> io::Result<Option<(File, bool)>> {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600);
    let (file, left) = match options.clone().create_new(true).open(path) {
        Ok(file) => (file, false),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => match options.open(path) {
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => (opened?, true),
        },
        Err(e) => return Err(e),
    };
    // A reader may hold a shared lock on a new file, for a moment.
    let operation = if left {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::LockExclusive
    };
    match flock(&file, operation) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
        Ok(()) => Ok(is_at(&file, path)?.then_some((file, left))),
    }
}

/// Whether the open file still has this path: the previous holder of the lock may have removed it.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    let inode = |metadata: &Metadata| (metadata.dev(), metadata.ino());
    Ok(std::fs::metadata(path).is_ok_and(|named| inode(&named) == inode(&held)))
}

/// Leaves a marker for the next process that opens the index; a failure is ignored.
pub(super) fn leave(dir: &Path) {
    if let Err(error) = File::create(path(dir)) {
        tracing::debug!(%error, "no marker can be left beside the index");
    }
}

/// Refuses an index that is being opened, or whose opening did not finish.
pub(super) fn check(dir: &Path) -> Result<(), Unusable> {
    match File::open(path(dir)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e.into()),
        Ok(file) => match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Err(Unusable::LeftOpening),
            Err(_) => Err(Unusable::InUse),
        },
    }
}

fn path(dir: &Path) -> PathBuf {
    beside(dir, ".opening")
}

/// The path of the folder with an ending appended to its name.
pub(super) fn beside(dir: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(dir.as_os_str());
    name.push(ending);
    name.into()
}
