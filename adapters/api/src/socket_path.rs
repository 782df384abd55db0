//! Paths of sockets that are longer than an address of a socket may be.

use std::{
    fs::File,
    io,
    os::{fd::AsRawFd as _, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags, open};

/// The longest path that is used as it is.
const PATH_MAX: usize = 100;
/// The longest path that the kernel accepts.
const KERNEL_MAX: usize = 107;

/// A path under which a socket is made or connected to. A long one leads through its folder, which is open
/// until this is dropped.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// A path that reaches the socket at this one.
    ///
    /// # Errors
    /// When the path is long and its folder cannot be opened; `InvalidInput` when the name of the file alone is too long.
    pub fn of(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Ok(Self::short(path));
        };
        if path.as_os_str().as_bytes().len() <= PATH_MAX {
            return Ok(Self::short(path));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = File::from(open(folder, flags, Mode::empty())?);
        let short = Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        if short.as_os_str().as_bytes().len() > KERNEL_MAX {
            let message = "the file's name is too long for a socket";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(Self {
            path: short,
            _folder: Some(folder),
        })
    }

    fn short(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            _folder: None,
        }
    }

    /// The path that the kernel accepts.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};

    use super::*;

    #[test]
    fn a_socket_at_a_long_path_is_made_and_reached() {
        let dir = tempfile::tempdir().unwrap();
        for length in [1, 80, 120, 200] {
            let folder = dir.path().join("x".repeat(length));
            std::fs::create_dir(&folder).unwrap();
            let path = folder.join("vsiflow.sock");
            let listener = UnixListener::bind(SocketPath::of(&path).unwrap().as_path()).unwrap();
            assert!(path.exists());
            UnixStream::connect(SocketPath::of(&path).unwrap().as_path()).unwrap();
            drop(listener);
        }
        let missing = dir.path().join("y".repeat(200)).join("vsiflow.sock");
        let error = SocketPath::of(&missing).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_name_that_no_socket_can_have_is_said_to_be_too_long() {
        let dir = tempfile::tempdir().unwrap();
        for length in [93, 108, 200] {
            let error = SocketPath::of(&dir.path().join("x".repeat(length))).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
            assert!(error.to_string().contains("name is too long"), "{error}");
        }
    }
}
