//! Excludes other processes with a lock of the kernel, which ends with the process in any case.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::Path,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{LOCK, StateDirError};

/// The most characters of a command line that are shown.
const COMMAND_MAX: usize = 200;

/// The process that uses a state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// When it opened the directory, in UTC as RFC 3339.
    pub since: String,
    /// What it is doing that others have to wait for, such as `makes the index again`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "process {} ({}, since {})",
            self.pid, self.command, self.since
        )
    }
}

impl Holder {
    fn this_process() -> Self {
        let words: Vec<_> = std::env::args_os()
            .map(|w| w.to_string_lossy().into_owned())
            .collect();
        let plain = |c: char| if c.is_control() { ' ' } else { c };
        Self {
            pid: std::process::id(),
            command: words
                .join(" ")
                .chars()
                .map(plain)
                .take(COMMAND_MAX)
                .collect(),
            doing: None,
            since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a state directory and writes the holder into it.
    pub(super) fn take(dir: &Path) -> Result<Self, StateDirError> {
        let io = |e: io::Error| StateDirError::io(&dir.join(LOCK), "locked", &e);
        let lock = Self::try_lock(dir, open(&dir.join(LOCK)).map_err(io)?)?;
        lock.write(None).map_err(io)?;
        Ok(lock)
    }

    /// The same for a process that only reads. If nothing can be written, the holder is not
    /// recorded; if there is no lock file, none is created.
    pub(super) fn shared(dir: &Path) -> Result<Option<Self>, StateDirError> {
        let io = |e: io::Error| StateDirError::io(&dir.join(LOCK), "locked", &e);
        if let result @ (Ok(_) | Err(StateDirError::InUse { .. })) = Self::take(dir) {
            return result.map(Some);
        }
        match File::open(dir.join(LOCK)) {
            Ok(file) => Self::try_lock(dir, file).map(Some),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io(e)),
        }
    }

    fn try_lock(dir: &Path, mut file: File) -> Result<Self, StateDirError> {
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(StateDirError::InUse {
                path: dir.to_owned(),
                holder: read(&mut file),
            }),
            Err(TryLockError::Error(e)) => Err(StateDirError::io(&dir.join(LOCK), "locked", &e)),
        }
    }

    /// Writes the holder, and what others have to wait for.
    pub(super) fn write(&self, doing: Option<&str>) -> io::Result<()> {
        let holder = Holder {
            doing: doing.map(str::to_owned),
            ..Holder::this_process()
        };
        let mut line = serde_json::to_string(&holder)?;
        line.push('\n');
        self.file.set_len(0)?;
        self.file.write_all_at(line.as_bytes(), 0)
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
}

fn read(file: &mut File) -> Option<Holder> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    serde_json::from_str(&text).ok()
}
