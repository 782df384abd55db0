//! Restricts which files of this machine may be read.
//!
//! The author of a document may not be the user who runs vsiflow, and may write any path. So the check is
//! about the file itself, after every link: the file is opened with `O_PATH` only, the kernel reports its
//! real path, and exactly that file is then opened for reading.

use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::{Component, Path, PathBuf},
};

use rustix::fs::{FileType, Mode, OFlags, fstat, open};

/// The size limit of a short text, such as a key or a list of known hosts: 1 MiB.
const MAX_TEXT_LEN: u64 = 1 << 20;

/// Which folders files may be read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Folders {
    /// Any file of this machine: the user who writes the path runs vsiflow.
    #[default]
    Any,
    /// Files below these folders.
    Only(Vec<PathBuf>),
}

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It is in none of the folders.
    #[error("{0}")]
    Refused(String),
    /// It is not a regular file.
    #[error("this is {0}, not a regular file")]
    Kind(&'static str),
    /// A short text was expected.
    #[error("this file is longer than 1 MiB")]
    TooLong,
    /// The operating system reported an error.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Folders {
    /// Opens a regular file for reading. Blocks.
    ///
    /// # Errors
    /// [`FileError::Refused`] if it is in none of the folders, whether it exists or not; [`FileError::Kind`]
    /// if it is not a regular file; otherwise the system's error.
    pub fn open(&self, path: &Path) -> Result<File, FileError> {
        self.judge(path)?;
        // `O_PATH` has no effect on the file: it does not wait for a pipe and does not activate a device.
        let held =
            open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)?;
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

    /// Reads a short text, such as a key. Blocks.
    ///
    /// # Errors
    /// As for [`Folders::open`]; [`FileError::TooLong`] if it is longer than 1 MiB.
    pub fn read(&self, path: &Path) -> Result<Vec<u8>, FileError> {
        use io::Read as _;
        let mut bytes = Vec::new();
        let file = self.open(path)?;
        file.take(MAX_TEXT_LEN.saturating_add(1))
            .read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_TEXT_LEN {
            Err(FileError::TooLong)
        } else {
            Ok(bytes)
        }
    }

    /// Checks a path by its text alone, so that nothing is revealed about files outside, not even whether
    /// they exist.
    ///
    /// # Errors
    /// [`FileError::Refused`] if it is in none of the folders, or contains `..`.
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
        let mut real_folders = folders
            .iter()
            .filter_map(|folder| folder.canonicalize().ok());
        if real_folders.any(|folder| real.starts_with(folder)) {
            Ok(())
        } else {
            Err(self.refused(path))
        }
    }

    fn refused(&self, path: &Path) -> FileError {
        let has_no_folder = matches!(self, Self::Only(folders) if folders.is_empty());
        let which = if has_no_folder {
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

/// The path through which the kernel refers to an open file.
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
        std::fs::write(real.join("long"), vec![b'x'; (MAX_TEXT_LEN + 1) as usize]).unwrap();
        let long = folders.read(&dir.path().join("name/long")).unwrap_err();
        assert_eq!(long.to_string(), "this file is longer than 1 MiB");
    }
}
