//! Files that are there after a power cut.
//!
//! A file is durable once it and the folder that names it were synced; each function here returns
//! only then, but for [`put`]. All of them block: call them off the runtime.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

/// Makes what a folder names durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Makes the folder that names `path` durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_dir(parent),
        _ => sync_dir(Path::new(".")),
    }
}

/// Creates a folder only its owner may enter, and those above it, where they are missing.
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

/// Puts a file in the place of what `path` names, so that a reader finds the old content or the
/// new, never a part. `temporary` stands in the same folder and is gone afterwards.
pub(crate) fn replace(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    put(path, temporary, bytes)?;
    sync_parent(path)
}

/// The same but for the folder, which is the caller's to sync: for many files at once.
pub(crate) fn put(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let moved = fill_new(temporary, bytes).and_then(|()| std::fs::rename(temporary, path));
    if let Err(e) = moved {
        // What is left of it is of no use; the error that matters is the first one.
        let _ = std::fs::remove_file(temporary);
        return Err(e);
    }
    Ok(())
}

/// Creates a file or overwrites it in its place; a crash in the middle leaves a part.
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
