//! The state directory: the folder that holds all data; its lock, its format and its parts.
//!
//! ```text
//! LOCK          held by the one process that uses the folder; names that process
//! FORMAT        the folder's format and the journal's identity, written last when it is created
//! log/          the events
//! archive/      old segments of the log, compressed
//! index/        the states of the log's events; can be rebuilt from the log
//! checkpoints/  positions within steps
//! blobs/        payloads too long for an event
//! secrets/      keys, contracts, tokens
//! damaged/      damaged files that a repair replaced
//! ballast       reserved space, deleted when the disk is full
//! ```
//!
//! Opening an existing state directory changes nothing except `LOCK`. Only a folder that is missing
//! or empty becomes a new state directory.

mod error;
mod file_system;
mod format;
mod lock;
mod process_dir;
mod rebuilding;
mod repair;

pub use error::StateDirError;
pub use lock::Holder;
pub use process_dir::{BESIDE_SEVERAL, JournalElsewhere};
pub use rebuilding::Rebuilding;
pub use repair::{Repaired, Repairer};

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{format::Format, lock::Lock};
use crate::{
    blob::DirBlobs,
    checkpoint::FileCheckpoints,
    files,
    journal::{DiskJournal, OpenMode},
    lease::Lease,
    permit::WritePermit,
    room::Room,
    secret::DirSecrets,
};

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const LOG: &str = "log";
const INDEX: &str = "index";
/// Space reserved for the log's next segment.
const SPARE: &str = "segment.next";
const CHECKPOINTS: &str = "checkpoints";
const BLOBS: &str = "blobs";
const SECRETS: &str = "secrets";

/// A state directory that only this process uses, as long as this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    format: Format,
    /// `None` if the folder is read-only and has no lock file.
    lock: Option<Lock>,
    room: Arc<Room>,
    lease: Arc<Lease>,
}

impl StateDir {
    /// Opens the state directory at `path`, or creates one if the folder is missing or empty.
    /// Blocks for as long as a few syncs take.
    ///
    /// # Errors
    /// See [`StateDirError`]; nothing was changed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
        files::create_dir(path).map_err(io("created"))?;
        match file_system::elsewhere(path).map_err(io("examined"))? {
            Some(kind) => Err(StateDirError::Elsewhere {
                path: path.to_owned(),
                kind,
            }),
            None => Self::open_anywhere(path),
        }
    }

    /// The same, also on a file system of another machine: the caller is responsible for its locks
    /// and syncs.
    ///
    /// # Errors
    /// As for [`StateDir::open`].
    pub fn open_anywhere(path: impl AsRef<Path>) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
        files::create_dir(path).map_err(io("created"))?;
        let lock = Lock::take(path)?;
        let format = match format::read(path)? {
            Some(format) => upgraded(path, format),
            None => make(path)?,
        };
        Ok(Self {
            path: path.to_owned(),
            format,
            lock: Some(lock),
            room: Room::open(path),
            lease: Lease::endless(),
        })
    }

    /// Opens an existing state directory to read it. Writes nothing, except to `LOCK` if that is
    /// possible. So it also opens on a full or read-only disk. Blocks.
    ///
    /// # Errors
    /// See [`StateDirError`].
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let kind = file_system::elsewhere(path);
        match kind.map_err(|e| StateDirError::io(path, "examined", &e))? {
            Some(kind) => Err(StateDirError::Elsewhere {
                path: path.to_owned(),
                kind,
            }),
            None => Self::open_to_read_anywhere(path),
        }
    }

    /// The same, also on a file system of another machine.
    ///
    /// # Errors
    /// As for [`StateDir::open_to_read`].
    pub fn open_to_read_anywhere(path: impl AsRef<Path>) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let lock = Lock::shared(path)?;
        let format = format::read(path)?
            .ok_or_else(|| StateDirError::damaged(path, format!("it has no {FORMAT}")))?;
        Ok(Self {
            path: path.to_owned(),
            format,
            lock,
            room: Room::seen_from_outside(path),
            lease: Lease::endless(),
        })
    }

    /// Writes into `LOCK` what this process is doing, for processes that find the state directory
    /// in use; `None` clears it. Blocks for as long as a short write takes.
    pub fn describe_holder_work(&self, doing: Option<&str>) {
        let written = self.lock.as_ref().map(|lock| lock.write(doing));
        if let Some(Err(error)) = written {
            tracing::debug!(%error, "others are not told what to wait for");
        }
    }

    /// In lease mode: nothing is appended once the lease has expired. Call it before the journal is
    /// opened.
    pub fn hold_by(&mut self, lease: Arc<Lease>) {
        self.lease = lease;
    }

    /// The room on its disk.
    pub fn room(&self) -> Arc<Room> {
        self.room.clone()
    }

    /// The lease, which is the right to write to it.
    pub fn lease(&self) -> Arc<Lease> {
        self.lease.clone()
    }

    fn permit(&self) -> WritePermit {
        WritePermit::new(self.room(), self.lease())
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the journal, drawn when the folder was created.
    pub fn journal_id(&self) -> &str {
        &self.format.journal
    }

    /// The version of this program that created the folder.
    pub fn written_by(&self) -> &str {
        &self.format.written_by
    }

    /// The incarnation of the journal: 1, and one more for each restore of a backup.
    pub fn incarnation(&self) -> u32 {
        self.format.incarnation
    }

    /// Whether it was restored from a backup and has not been confirmed yet.
    pub fn observes_only(&self) -> bool {
        self.format.observe_only
    }

    /// Confirms a restored state directory, so that it acts from now on; durable when it returns.
    /// Blocks.
    ///
    /// # Errors
    /// When `FORMAT` cannot be written.
    pub fn confirm(&mut self) -> Result<(), StateDirError> {
        let mut format = self.format.clone();
        format.observe_only = false;
        let written = format::write(&self.path, &format);
        written.map_err(|e| StateDirError::io(&self.path, "written", &e))?;
        self.format = format;
        Ok(())
    }

    /// Opens the journal.
    ///
    /// # Errors
    /// [`StateDirError::Damaged`] when something that was acknowledged is missing, otherwise the
    /// errors of [`DiskJournal::open`].
    pub async fn journal(&self) -> Result<DiskJournal, StateDirError> {
        self.open_journal(OpenMode::Append).await
    }

    /// Opens the journal to be read: nothing is written, and reading a damaged part is an error.
    ///
    /// # Errors
    /// As for [`StateDir::journal`], except for damage.
    pub async fn read_journal(&self) -> Result<DiskJournal, StateDirError> {
        self.open_journal(OpenMode::Read).await
    }

    /// The same, but everything damaged is skipped, and [`DiskJournal::damage`] lists it. To find
    /// the damage every byte is read first.
    ///
    /// # Errors
    /// As for [`StateDir::journal`], except for damage.
    pub async fn inspect(&self) -> Result<DiskJournal, StateDirError> {
        self.open_journal(OpenMode::Inspect).await
    }

    async fn open_journal(&self, mode: OpenMode) -> Result<DiskJournal, StateDirError> {
        let opened =
            DiskJournal::open_permitted(&self.path, self.journal_id(), mode, self.permit());
        opened
            .await
            .map_err(|e| StateDirError::journal(&self.path.join(LOG), e))
    }

    /// Opens the checkpoints. If they are missing they are created again, because they are only
    /// hints.
    ///
    /// # Errors
    /// The errors of [`FileCheckpoints::open`].
    pub async fn checkpoints(&self) -> Result<FileCheckpoints, StateDirError> {
        let path = self.path.join(CHECKPOINTS);
        FileCheckpoints::open_permitted(&path, self.permit())
            .await
            .map_err(|e| StateDirError::journal(&path, e))
    }

    /// Opens the blobs.
    ///
    /// # Errors
    /// [`StateDirError::Damaged`] when their folder is missing.
    pub async fn blobs(&self) -> Result<DirBlobs, StateDirError> {
        let path = self.folder(BLOBS)?;
        DirBlobs::open(&path)
            .await
            .map_err(|e| StateDirError::journal(&path, e))
    }

    /// Opens the secrets.
    ///
    /// # Errors
    /// [`StateDirError::Damaged`] when their folder is missing.
    pub async fn secrets(&self) -> Result<DirSecrets, StateDirError> {
        let path = self.folder(SECRETS)?;
        let opened = DirSecrets::open(&path).await;
        opened.map_err(|e| StateDirError::io(&path, "opened", &io::Error::other(e)))
    }

    fn folder(&self, name: &str) -> Result<PathBuf, StateDirError> {
        let path = self.path.join(name);
        if path.is_dir() {
            Ok(path)
        } else {
            Err(StateDirError::damaged(&path, "it is gone"))
        }
    }
}

/// Makes the folder one that older versions refuse, because they would not understand what is written to it from now
/// on. On a full disk it stays as it is: that does not keep this version from its work.
fn upgraded(path: &Path, format: Format) -> Format {
    let Some(newer) = format.upgraded() else {
        return format;
    };
    match format::write(path, &newer) {
        Ok(()) => newer,
        Err(error) => {
            tracing::warn!(%error, "the state directory is not marked as one of this version yet");
            format
        }
    }
}

/// Creates a state directory in an empty folder.
///
/// The draft of `FORMAT` is written first and renamed last. If the draft exists, the creation was
/// interrupted and the folder holds no data yet; if `FORMAT` exists, the folder is complete.
fn make(path: &Path) -> Result<Format, StateDirError> {
    let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
    if process_dir::is_beside(path) {
        return Err(StateDirError::OwnJournal {
            path: path.to_owned(),
        });
    }
    let data = find_data(path).map_err(io("read"))?;
    if let Some(data) = data.filter(|_| !format::is_drafted(path)) {
        let why = format!("it has no {FORMAT}, but holds {data}");
        return Err(StateDirError::damaged(path, why));
    }
    let format = format::draft(path).map_err(io("written"))?;
    let log = path.join(LOG);
    // A creation that a power cut interrupted may have left an incomplete log, to which nothing was
    // written.
    remove(&log).map_err(io("cleared"))?;
    DiskJournal::make(path, &format.journal).map_err(|e| StateDirError::journal(&log, e))?;
    for room in [BLOBS, SECRETS] {
        files::create_dir(&path.join(room)).map_err(io("created"))?;
    }
    format::settle(path).map_err(io("written"))?;
    Ok(format)
}

/// Removes a folder, if it exists. Blocks.
fn remove(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// The name of something in the folder that this process did not put there.
fn find_data(path: &Path) -> io::Result<Option<String>> {
    for entry in std::fs::read_dir(path)? {
        let name = entry?.file_name();
        if name != LOCK && name != "lost+found" {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
