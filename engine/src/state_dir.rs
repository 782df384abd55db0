//! The folder everything is kept in: who may use it, which format it has, where its parts are.
//!
//! ```text
//! LOCK          held by the one process that uses the folder; says who that is
//! FORMAT        the folder's format and the journal's identity, written last when it is made
//! journal/      the events
//! archive/      events that compaction moved out of the journal
//! checkpoints/  positions within steps
//! blobs/        payloads too long for an event
//! secrets/      keys, contracts, tokens
//! ballast       room set aside, given up when the disk is full
//! ```
//!
//! Opening a folder that exists changes nothing but `LOCK` and what sled recovers; only a folder
//! that is missing or empty is ever made into a state directory.

mod error;
mod file_system;
mod format;
mod lock;
mod rebuilding;
mod swap;

pub use error::StateDirError;
pub use lock::Holder;
pub use rebuilding::Rebuilding;
pub(crate) use swap::{NEXT, PART, abandon, clear_old, put_aside, put_in_place, remove};

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{format::Format, lock::Lock};
use crate::{
    blob::DirBlobs,
    checkpoint::SledCheckpoints,
    durable, files,
    journal::{JournalError, SledJournal},
    lease::Lease,
    permit::Permit,
    room::Room,
    secret::DirSecrets,
};

const LOCK: &str = "LOCK";
const FORMAT: &str = "FORMAT";
const JOURNAL: &str = "journal";
const ARCHIVE: &str = "archive";
const CHECKPOINTS: &str = "checkpoints";
const BLOBS: &str = "blobs";
const SECRETS: &str = "secrets";

/// A state directory that this process alone uses, for as long as this value lives.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    format: Format,
    _lock: Lock,
    room: Arc<Room>,
    lease: Arc<Lease>,
}

impl StateDir {
    /// Opens the state directory at `path`, or makes one where there is nothing. Blocks for as
    /// long as a few syncs take.
    ///
    /// # Errors
    /// See [`StateDirError`]; nothing was changed then.
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

    /// The same, also on a file system that lies on another machine: whoever calls this answers
    /// for its locks and syncs.
    ///
    /// # Errors
    /// As for [`StateDir::open`].
    pub fn open_anywhere(path: impl AsRef<Path>) -> Result<Self, StateDirError> {
        let path = path.as_ref();
        let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
        files::create_dir(path).map_err(io("created"))?;
        let lock = Lock::take(path)?;
        let format = match format::read(path)? {
            Some(format) => format,
            None => make(path)?,
        };
        swap::settle(path).map_err(io("settled"))?;
        Ok(Self {
            path: path.to_owned(),
            format,
            _lock: lock,
            room: Room::open(path),
            lease: Lease::endless(),
        })
    }

    /// In lease mode: nothing is appended once the lease is past. To be called before the journal
    /// is opened.
    pub fn hold_by(&mut self, lease: Arc<Lease>) {
        self.lease = lease;
    }

    /// The room on its disk.
    pub fn room(&self) -> Arc<Room> {
        self.room.clone()
    }

    /// The right to write to it.
    pub fn lease(&self) -> Arc<Lease> {
        self.lease.clone()
    }

    fn permit(&self) -> Permit {
        Permit::new(self.room(), self.lease())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The identity of the journal, drawn when the folder was made.
    pub fn journal_id(&self) -> &str {
        &self.format.journal
    }

    /// Where compaction leaves archives.
    pub fn archives(&self) -> PathBuf {
        self.path.join(ARCHIVE)
    }

    /// The version of this program that made the folder.
    pub fn written_by(&self) -> &str {
        &self.format.written_by
    }

    /// Which incarnation of the journal this is: 1, and one more for each restore of a backup.
    pub fn incarnation(&self) -> u32 {
        self.format.incarnation
    }

    /// Whether it was restored from a backup that nobody confirmed yet.
    pub fn observes_only(&self) -> bool {
        self.format.observe_only
    }

    /// Lets a restored state directory act from now on; durable when it returns. Blocks.
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
    /// [`StateDirError::Damaged`] when it is gone, otherwise what [`SledJournal::open`] says.
    pub async fn journal(&self) -> Result<SledJournal, StateDirError> {
        let path = self.path.join(JOURNAL);
        if !durable::data_file(&path).is_file() {
            return Err(StateDirError::damaged(&path, "the journal is gone"));
        }
        SledJournal::open_permitted(&path, self.permit())
            .await
            .map_err(|e| StateDirError::journal(&path, e))
    }

    /// Opens the checkpoints; a store that is gone or damaged is made anew, since they are hints.
    /// The damaged one is kept beside it.
    ///
    /// # Errors
    /// What [`SledCheckpoints::open`] says.
    pub async fn checkpoints(&self) -> Result<SledCheckpoints, StateDirError> {
        let path = self.path.join(CHECKPOINTS);
        let mut opened = SledCheckpoints::open_permitted(&path, self.permit()).await;
        if let Err(error @ JournalError::Damaged { .. }) = &opened {
            tracing::warn!(%error, "the checkpoints are made anew: uploads begin again");
            put_damaged_aside(&path).map_err(|e| StateDirError::io(&path, "put aside", &e))?;
            opened = SledCheckpoints::open_permitted(&path, self.permit()).await;
        }
        opened.map_err(|e| StateDirError::journal(&path, e))
    }

    /// Opens the blobs.
    ///
    /// # Errors
    /// [`StateDirError::Damaged`] when their folder is gone.
    pub async fn blobs(&self) -> Result<DirBlobs, StateDirError> {
        let path = self.folder(BLOBS)?;
        DirBlobs::open(&path)
            .await
            .map_err(|e| StateDirError::journal(&path, e))
    }

    /// Opens the secrets.
    ///
    /// # Errors
    /// [`StateDirError::Damaged`] when their folder is gone.
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

/// Makes a state directory of an empty folder.
///
/// The draft of `FORMAT` comes first and gets its name last: where the draft is, a making was
/// interrupted and nothing was kept yet; where the name is, everything is there.
fn make(path: &Path) -> Result<Format, StateDirError> {
    let io = |doing: &'static str| move |e| StateDirError::io(path, doing, &e);
    let found = find_data(path).map_err(io("read"))?;
    if let Some(found) = found.filter(|_| !format::is_drafted(path)) {
        let why = format!("it has no {FORMAT}, but holds {found}");
        return Err(StateDirError::damaged(path, why));
    }
    let format = format::draft(path).map_err(io("written"))?;
    let journal = path.join(JOURNAL);
    // Of a making that a power cut ended: it may be no journal yet, and nothing was written to it.
    swap::remove(&journal).map_err(io("cleared"))?;
    let made = SledJournal::open_with(journal.clone(), std::fs::File::sync_data).map(drop);
    made.map_err(|e| StateDirError::journal(&journal, e))?;
    for room in [BLOBS, SECRETS] {
        files::create_dir(&path.join(room)).map_err(io("created"))?;
    }
    format::settle(path).map_err(io("written"))?;
    Ok(format)
}

/// Only the newest damaged one is kept.
fn put_damaged_aside(path: &Path) -> io::Result<()> {
    let aside = path.with_extension("damaged");
    swap::remove(&aside)?;
    std::fs::rename(path, aside)?;
    files::sync_parent(path)
}

/// Something in the folder that this process did not put there.
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
