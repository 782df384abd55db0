//! A sled database whose writes survive a power cut.
//!
//! Left to itself sled 0.34 never calls `fsync` or `fdatasync`: its `flush` only starts the
//! writing. Therefore one thread alone writes, and what it applied is flushed and then synced
//! through a second descriptor of the same file before anybody relies on it. Between two syncs
//! only little is written, see [`SEGMENT`]. Sled's own background flusher is off, since it would
//! overwrite freed segments whose replacements are not on the disk yet.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{files, journal::JournalError, permit::Permit};

/// What sled may keep in memory, in bytes; its default is a gibibyte.
const CACHE: u64 = 64 * 1024 * 1024;

/// What sled writes in one piece, in bytes. Of a segment that was not synced sled finds out how
/// far it was written; of several it believes the older ones to be whole, and cannot be opened if
/// they are not: with sled's own 512 KiB and a sync every 512 KiB of events, one power cut in ten
/// left such a database. So its users sync after 128 KiB, of which sled makes less than this.
const SEGMENT: usize = 2 * 1024 * 1024;

/// How long a database that is locked is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// Makes a file's content durable; another one takes its place in tests.
pub(crate) type Sync = fn(&File) -> io::Result<()>;

/// A database of one tree, and the descriptor that makes it durable.
pub(crate) struct Durable {
    tree: sled::Db,
    data: File,
    sync: Sync,
    permit: Permit,
}

impl Durable {
    /// Opens the database in `dir`, or creates it. Blocks.
    pub(crate) fn open(dir: &Path, sync: Sync) -> Result<Self, JournalError> {
        prepare(dir).map_err(|e| storage(dir, &e))?;
        let tree = open_unlocked(&config(dir)).map_err(|e| unopened(dir, e))?;
        let data = settle(dir).map_err(|e| storage(dir, &e))?;
        Ok(Self {
            tree,
            data,
            sync,
            permit: Permit::always(),
        })
    }

    /// The same, asking before it grows.
    pub(crate) fn with(self, permit: Permit) -> Self {
        Self { permit, ..self }
    }

    /// The tree, for reading.
    pub(crate) fn tree(&self) -> &sled::Tree {
        &self.tree
    }

    /// Applies a batch that only a later [`Durable::commit`] makes durable.
    pub(crate) fn apply(&self, batch: sled::Batch) -> Result<(), JournalError> {
        self.permit.to_grow()?;
        self.tree.apply_batch(batch).map_err(sled_error)
    }

    /// Writes a batch, all of it or nothing; durable when it returns. Blocks.
    pub(crate) fn commit(&self, batch: sled::Batch) -> Result<(), JournalError> {
        self.apply(batch)?;
        self.sync()
    }

    /// Makes everything durable that was applied. Blocks.
    pub(crate) fn sync(&self) -> Result<(), JournalError> {
        self.tree.flush().map_err(sled_error)?;
        (self.sync)(&self.data).map_err(|e| JournalError::Storage(format!("fdatasync: {e}")))
    }
}

/// How sled opens the database in `dir`.
pub(crate) fn config(dir: &Path) -> sled::Config {
    sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE)
        .segment_size(segment(dir))
        .flush_every_ms(None)
}

/// The size of a database's segments, which stays as it was made.
fn segment(dir: &Path) -> usize {
    let conf = std::fs::read_to_string(dir.join("conf")).unwrap_or_default();
    let size = conf
        .lines()
        .find_map(|line| line.strip_prefix("segment_size: "));
    size.and_then(|size| size.parse().ok()).unwrap_or(SEGMENT)
}

/// Opens a database that this process may have closed a moment ago: a thread of sled's own may
/// hold its lock for a little longer than the database lives.
fn open_unlocked(config: &sled::Config) -> sled::Result<sled::Db> {
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match config.open() {
            Err(sled::Error::Io(e)) if is_locked(&e) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

/// A snapshot that was being written when the process was killed makes sled refuse to open
/// (sled#1527); sled makes it anew.
fn prepare(dir: &Path) -> io::Result<()> {
    files::create_dir(dir)?;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if is_unfinished_snapshot(&path) {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn is_unfinished_snapshot(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    name.starts_with("snap.") && name.ends_with(".generating")
}

/// Makes the files themselves durable, and gives the one that holds the data.
fn settle(dir: &Path) -> io::Result<File> {
    let data = File::open(data_file(dir))?;
    data.sync_all()?;
    File::open(dir.join("conf"))?.sync_all()?;
    files::sync_dir(dir)?;
    files::sync_parent(dir)?;
    Ok(data)
}

/// The file of a database that holds its data.
pub(crate) fn data_file(dir: &Path) -> PathBuf {
    dir.join("db")
}

fn storage(dir: &Path, error: &dyn std::error::Error) -> JournalError {
    JournalError::Storage(format!("{}: {error}", dir.display()))
}

fn unopened(dir: &Path, error: sled::Error) -> JournalError {
    match error {
        sled::Error::Corruption { .. } => sled_error(error),
        other => storage(dir, &other),
    }
}

/// What an error of sled means to a user of the store.
pub(crate) fn sled_error(error: sled::Error) -> JournalError {
    match error {
        sled::Error::Corruption { .. } => JournalError::Damaged {
            place: "a page of the store".to_owned(),
            why: error.to_string(),
        },
        other => JournalError::Storage(other.to_string()),
    }
}
