//! One process at a time: a lock of the kernel's, which ends with the process however it ends.

use std::{
    fmt,
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    time::SystemTime,
};

use serde::{Deserialize, Serialize};

use super::{LOCK, StateDirError};

/// The most of a command line that is shown.
const COMMAND_MAX: usize = 200;

/// Who uses a state directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its command line.
    pub command: String,
    /// When it began to use the directory, in UTC as RFC 3339 writes it.
    pub since: String,
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
            since: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        }
    }
}

/// The lock, held as long as this value lives.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a state directory and writes down who has it.
    pub(super) fn take(dir: &Path) -> Result<Self, StateDirError> {
        let io = |e: io::Error| StateDirError::io(&dir.join(LOCK), "locked", &e);
        let mut file = open(&dir.join(LOCK)).map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StateDirError::InUse {
                    path: dir.to_owned(),
                    holder: read(&mut file),
                });
            }
            Err(TryLockError::Error(e)) => return Err(io(e)),
        }
        write(&mut file).map_err(io)?;
        Ok(Self { _file: file })
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

fn write(file: &mut File) -> io::Result<()> {
    let mut line = serde_json::to_string(&Holder::this_process())?;
    line.push('\n');
    file.set_len(0)?;
    file.write_all(line.as_bytes())
}
