//! Which files of this machine may be read.
//!
//! A document of somebody who does not run vsiflow may name any path. What it leads to is looked at
//! by what it *is*, after every link: the file is taken hold of without being opened, where it lies
//! is asked of the kernel, and that very file is opened then.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// A key, or a list of known hosts, is no longer, in bytes.
const LONGEST_TEXT: u64 = 1 << 20;

/// The folders whose files may be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Folders {
    /// Any file of this machine: whoever names it runs vsiflow.
    #[default]
    Any,
    /// Those below these folders.
    Only(Vec<PathBuf>),
}

/// Why a file is not read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is in none of the folders.
    #[error("{0}")]
    Refused(String),
    /// It is of another kind.
    #[error("this is {0}, not a regular file")]
    Kind(&'static str),
    /// The system says so.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Folders {
    /// Opens a regular file for reading. It blocks.
    ///
    /// # Errors
    /// `AddressRefused` where it lies elsewhere, whether it is there or not; `Kind` where it is no regular
    /// file; else what the system says.
    pub fn open(&self, path: &Path) -> Result<File, FileError> {
        self.judge(path)?;
        // Nothing happens to what is only taken hold of: a pipe is not waited for, no device acts.
        let held = open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
        let held = held.map_err(io::Error::from)?;
        let kind = match FileType::from_raw_mode(fstat(&held).map_err(io::Error::from)?.st_mode) {
            FileType::RegularFile => None,
            FileType::Directory => Some("a directory"),
            _ => Some("a pipe, socket or device"),
        };
        let place = place_of(&held);
        self.judge_place(path, &std::fs::read_link(&place)?)?;
        match kind {
            Some(kind) => Err(FileError::Kind(kind)),
            None => Ok(File::open(place)?),
        }
    }

    /// Reads a short text, such as a key. It blocks.
    ///
    /// # Errors
    /// As for [`Folders::open`]; `Kind` where it is too long for such.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        use io::Read as _;
        let mut bytes = Vec::new();
        let file = self.open(path)?;
        file.take(LONGEST_TEXT.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST_TEXT {
            Err(FileError::Kind("longer than 1 MiB"))
        } else {
            Ok(bytes)
        }
    }

    /// Judges a path by its words alone: of what lies outside nothing is told, not even whether it
    /// is there.
    ///
    /// # Errors
    /// `AddressRefused`.
    pub fn judge(&self, path: &Path) -> Result<(), FileError> {
        let Self::Only(folders) = self else {
            return Ok(());
        };
        let up = path.components().any(|part| part == Component::ParentDir);
        let within = folders.iter().any(|folder| path.starts_with(folder));
        if within && !up {
            Ok(())
        } else {
            Err(self.refused(path))
        }
    }

    fn judge_place(&self, path: &Path, real: &Path) -> Result<(), FileError> {
        let Self::Only(folders) = self else {
            return Ok(());
        };
        let mut folders = folders
            .iter()
            .filter_map(|folder| folder.canonicalize().ok());
        if folders.any(|folder| real.starts_with(folder)) {
            Ok(())
        } else {
            Err(self.refused(path))
        }
    }

    fn refused(&self, path: &Path) -> FileError {
        let none = matches!(self, Self::Only(folders) if folders.is_empty());
        let which = if none {
            "no files of this machine are read for documents"
        } else {
            "it is not within a folder whose files are"
        };
        FileError::Refused(format!(
            "the file {} is not read: {which}; --allow-files of `vsiflow serve` permits folders",
            path.display()
        ))
    }
}

/// The name by which the kernel knows what is held.
fn place_of(held: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn refused(folders: &Folders, path: &Path) -> bool {
        matches!(folders.open(path), Err(FileError::Refused(_)))
    }

    #[test]
    fn nothing_outside_of_the_folders_is_read_by_whatever_way() {
        let dir = tempfile::tempdir().unwrap();
        let (inside, outside) = (dir.path().join("in"), dir.path().join("out"));
        std::fs::create_dir_all(inside.join("deep")).unwrap();
        std::fs::create_dir(&outside).unwrap();
        for file in [inside.join("deep/image"), outside.join("token")] {
            std::fs::write(file, "x").unwrap();
        }
        symlink(outside.join("token"), inside.join("link")).unwrap();
        symlink(&outside, inside.join("folder")).unwrap();
        symlink("../out/token", inside.join("relative")).unwrap();
        symlink("deep/image", inside.join("own")).unwrap();
        symlink("/dev/null", inside.join("device")).unwrap();
        let folders = Folders::Only(vec![inside.clone()]);
        for way in [
            "link",
            "folder/token",
            "relative",
            "../out/token",
            "device",
            "deep/../../out/token",
        ] {
            assert!(refused(&folders, &inside.join(way)), "{way}");
        }
        for way in [
            outside.join("token"),
            outside.join("missing"),
            dir.path().join("inner"),
        ] {
            assert!(refused(&folders, &way), "{}", way.display());
        }
        for way in ["deep/image", "own"] {
            assert!(folders.open(&inside.join(way)).is_ok(), "{way}");
        }
        assert!(refused(&Folders::Only(Vec::new()), &inside.join("own")));
        assert_eq!(Folders::Any.read(&inside.join("link")).unwrap(), b"x");
    }

    #[test]
    fn a_folder_that_is_a_link_itself_holds_what_it_leads_to() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().join("real");
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("image"), "x").unwrap();
        symlink(&real, dir.path().join("name")).unwrap();
        let folders = Folders::Only(vec![dir.path().join("name")]);
        assert!(folders.open(&dir.path().join("name/image")).is_ok());
        std::fs::write(real.join("long"), vec![b'x'; (LONGEST_TEXT + 1) as usize]).unwrap();
        assert!(folders.read(&dir.path().join("name/long")).is_err());
    }
}
