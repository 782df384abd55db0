//! The file that a disk is exported to. While it is incomplete, it is `FILE.part`, and `FILE.part.of`
//! identifies the disk.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use sha2::{Digest as _, Sha256};
use vsiflow_engine::model::Hash;

use crate::exit::{Exit, ExitProblem};

/// How many bytes of an existing part are read at a time.
const BUFFER: usize = 1 << 20;

/// A file that is being written, by one process at a time.
pub(super) struct ExportFile {
    path: PathBuf,
    file: File,
    hash: Sha256,
    length: u64,
}

impl ExportFile {
    /// Begins the file, or resumes a part of the same disk in the same state. A part of another
    /// disk is dropped.
    pub(super) fn open(path: &Path, state: &str) -> Result<Self, ExitProblem> {
        let failed = |error: std::io::Error| wrong(path, &error);
        if path.symlink_metadata().is_ok() {
            return Err(wrong(path, &"the file exists"));
        }
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let part = beside(path, ".part");
        let file = options.mode(0o600).open(&part).map_err(failed)?;
        if file.try_lock().is_err() {
            return Err(wrong(&part, &"another process writes it"));
        }
        let of = beside(path, ".part.of");
        if std::fs::read_to_string(&of).ok().as_deref() != Some(state) {
            // Before the new state is written: a crash in between must not leave old data under it.
            file.set_len(0)
                .and_then(|()| file.sync_all())
                .map_err(failed)?;
            let mut named = File::create(&of).map_err(failed)?;
            let written = named.write_all(state.as_bytes());
            written.and_then(|()| named.sync_all()).map_err(failed)?;
        }
        let mut export = Self {
            path: path.to_owned(),
            file,
            hash: Sha256::new(),
            length: 0,
        };
        export.take_up().map_err(failed)?;
        Ok(export)
    }

    /// Adds the existing part to the hash.
    fn take_up(&mut self) -> std::io::Result<()> {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = self.file.read(&mut buffer)?;
            let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else {
                return Ok(());
            };
            self.hash.update(bytes);
            self.length = self.length.saturating_add(bytes.len() as u64);
        }
    }

    /// How many bytes the file has.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes at its end.
    pub(super) fn add(mut self, bytes: &[u8]) -> Result<Self, ExitProblem> {
        let written = self.file.write_all(bytes);
        written.map_err(|error| wrong(&self.path, &error))?;
        self.hash.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
        Ok(self)
    }

    /// Gives the file its name if its hash equals the host's; otherwise removes it.
    pub(super) fn finish(self, there: &str) -> Result<(u64, String), ExitProblem> {
        let here = Hash(self.hash.clone().finalize().into()).to_string();
        let (part, of) = (beside(&self.path, ".part"), beside(&self.path, ".part.of"));
        if here != there {
            let _ = std::fs::remove_file(&part);
            let _ = std::fs::remove_file(&of);
            let message = format!("sha256:{here} was written, and the host has sha256:{there}");
            let remedy = "run the command again; if it persists, check both disks";
            return Err(ExitProblem::new(Exit::Failed, "VSI0313", message, remedy));
        }
        let failed = |error: std::io::Error| wrong(&self.path, &error);
        self.file.sync_all().map_err(failed)?;
        self.checksum(&here).map_err(failed)?;
        // Unlike a rename, a hard link never replaces a file that was created in the meantime.
        std::fs::hard_link(&part, &self.path).map_err(failed)?;
        std::fs::remove_file(&part).map_err(failed)?;
        std::fs::remove_file(&of).map_err(failed)?;
        let folder = self.path.parent();
        let folder = folder.filter(|folder| !folder.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        folder.sync_all().map_err(failed)?;
        Ok((self.length, here))
    }

    /// Writes the checksum beside the file, in the format of `sha256sum -c`.
    fn checksum(&self, digits: &str) -> std::io::Result<()> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let mut file = File::create(beside(&self.path, ".sha256"))?;
        file.write_all(format!("{digits}  {name}\n").as_bytes())?;
        file.sync_all()
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// The error for a file that cannot be used.
pub(super) fn wrong(path: &Path, why: &dyn std::fmt::Display) -> ExitProblem {
    let remedy = "name another file, or remove what is in the way; the same command resumes";
    let message = format!("{}: {why}", path.display());
    ExitProblem::new(Exit::Failed, "VSI0314", message, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> String {
        Hash::of(bytes).to_string()
    }

    #[test]
    fn what_is_there_of_the_same_disk_is_gone_on_with_and_of_another_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.qcow2");
        let open = |state: &str| ExportFile::open(&path, state).unwrap();
        drop(open("one").add(b"first ").unwrap());
        let file = open("one");
        assert_eq!(file.length(), 6);
        drop(file);
        let reopened = open("two");
        assert_eq!(reopened.length(), 0);
        drop(reopened.add(b"second").unwrap());
        let (length, hash) = open("two").finish(&sha256(b"second")).unwrap();
        assert_eq!((length, hash), (6, sha256(b"second")));
        assert_eq!(std::fs::read(&path).unwrap(), b"second");
        let beside = std::fs::read_to_string(folder.path().join("a.qcow2.sha256")).unwrap();
        assert_eq!(beside, format!("{}  a.qcow2\n", sha256(b"second")));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
        assert!(ExportFile::open(&path, "two").is_err(), "it exists");
    }

    #[test]
    fn what_is_not_what_the_host_has_gets_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let file = ExportFile::open(&path, "one").unwrap().add(b"x").unwrap();
        let problem = file.finish(&sha256(b"y")).unwrap_err();
        assert_eq!(problem.code, "VSI0313");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn two_do_not_write_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let _first = ExportFile::open(&path, "one").unwrap();
        assert_eq!(
            ExportFile::open(&path, "one").err().unwrap().code,
            "VSI0314"
        );
    }
}
