//! The file system operations that the log needs, as traits, so that tests can simulate them.
//!
//! Names are relative to the state directory and have at most one folder in them.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::files;

/// A folder tree in which files are created, renamed and removed. All calls block.
pub(crate) trait LogDisk: Send + Sync + 'static {
    /// The names of the files directly in a folder, with their lengths in bytes; none if the folder
    /// is missing.
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>>;

    /// Creates a folder below the root, durably, if it is missing.
    fn make_folder(&self, folder: &str) -> io::Result<()>;

    /// Opens a file for reading, and for writing too if `write` is set.
    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a file that must not exist, accessible only to its owner.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file; replaces a file that has the new name.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Creates a hard link; its name must not exist.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file; no error if there is none.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in a folder durable; `""` is the root.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
}

/// An open file. All calls block.
pub(crate) trait DiskFile: Send + Sync + 'static {
    /// Reads until the buffer is full or the file ends; returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes all bytes.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Its length, in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Makes the content durable, if the length did not change: `fdatasync`.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes content and length durable: `fsync`.
    fn sync_all(&self) -> io::Result<()>;
}

/// The file system of this machine, below a folder.
pub(crate) struct LocalDisk(PathBuf);

impl LocalDisk {
    pub(crate) fn new(root: &Path) -> Arc<Self> {
        Arc::new(Self(root.to_owned()))
    }
}

impl LogDisk for LocalDisk {
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        let entries = match std::fs::read_dir(self.0.join(folder)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() {
                files.push((
                    entry.file_name().to_string_lossy().into_owned(),
                    metadata.len(),
                ));
            }
        }
        Ok(files)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        files::create_dir(&self.0.join(folder))
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(write)
            .open(self.0.join(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        Ok(Arc::new(options.open(self.0.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(from), self.0.join(to))
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::hard_link(self.0.join(from), self.0.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match std::fs::remove_file(self.0.join(name)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        files::sync_dir(&self.0.join(folder))
    }
}

impl DiskFile for File {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, rest, at.saturating_add(filled as u64))
            {
                Ok(0) => break,
                Ok(count) => filled = filled.saturating_add(count),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_all_at(bytes, at)
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}

/// Reads all of a file.
pub(super) fn read_all(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    let bytes_read = file.read_at(&mut bytes, 0)?;
    bytes.truncate(bytes_read);
    Ok(bytes)
}
