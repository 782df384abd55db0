//! File operations whose results survive a power cut.
//!
//! A file is durable once it and its folder were synced. Each function here, except [`put`],
//! returns only then. All of them block: do not call them on the runtime's threads.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Makes the entries of a folder durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the entry of `path` in its folder durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Creates a folder that only its owner may enter, and its missing parents.
pub(crate) fn create_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
            Err(io::ErrorKind::NotADirectory.into())
        }
        Err(e) => Err(e),
        Ok(()) => sync_parent(dir),
    }
}

/// Creates a file that must not exist, readable by its owner only.
pub(crate) fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fill_new(path, bytes)?;
    sync_parent(path)
}

/// Replaces the file at `path`, so that a reader finds either the old content or the new, never a
/// part. `temporary` must be in the same folder; afterwards it no longer exists.
pub(crate) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, temporary, bytes)?;
    sync_parent(path)
}

/// The same without syncing the folder, which is up to the caller: for many files in one folder.
pub(crate) fn put(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let moved = fill_new(temporary, bytes).and_then(|()| std::fs::rename(temporary, path));
    if let Err(e) = moved {
        // The rest of the temporary file is useless; the first error is the one that matters.
        let _ = std::fs::remove_file(temporary);
        return Err(e);
    }
    Ok(())
}

/// Creates a file or overwrites it in place; a crash in the middle leaves a partial file.
pub(crate) fn rewrite(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fill(OpenOptions::new().create(true).truncate(true), path, bytes)?;
    sync_parent(path)
}

fn fill_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    fill(OpenOptions::new().create_new(true), path, bytes)
}

fn fill(options: &mut OpenOptions, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = options.write(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}
