//! The file that is there while an index is being opened to be written, and at no other time.
//!
//! One that is there while nobody opens it was left by a process that the opening killed, or by
//! one that found the index hanging: nobody should try that again. Whoever opens holds a lock on
//! it, so that the two are told apart. It is for the death of a process, not of the machine:
//! nothing is synced.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
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

/// How often one that waits for another opening looks again.
const AGAIN: Duration = Duration::from_millis(10);

/// A marker that this process holds. Dropping it takes it away.
pub(super) struct OpeningMarker {
    path: PathBuf,
    _locked: File,
}

impl OpeningMarker {
    /// Sets the marker, and says whether one was left there. Waits for an opening of another
    /// process, but not for ever.
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
            std::thread::sleep(AGAIN);
        }
    }
}

impl Drop for OpeningMarker {
    fn drop(&mut self) {
        // One that stays costs a rebuild.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The file and whether it was there before; nothing while another process holds it.
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
    // A new one may be looked at by a reader, for a moment.
    let how = if left {
        FlockOperation::NonBlockingLockExclusive
    } else {
        FlockOperation::LockExclusive
    };
    match flock(&file, how) {
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(e.into()),
        Ok(()) => Ok(is_at(&file, path)?.then_some((file, left))),
    }
}

/// Whether whoever held the lock before has not taken the file away.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    Ok(std::fs::metadata(path)
        .is_ok_and(|there| (there.dev(), there.ino()) == (held.dev(), held.ino())))
}

/// Leaves a marker for whoever comes next, where that can be done.
pub(super) fn leave(dir: &Path) {
    if let Err(error) = File::create(path(dir)) {
        tracing::debug!(%error, "no marker can be left beside the index");
    }
}

/// Refuses an index that was left while it was opened, or is being opened.
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

/// What has the folder's name and an ending.
pub(super) fn beside(dir: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(dir.as_os_str());
    name.push(ending);
    name.into()
}
