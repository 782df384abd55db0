//! The journal on a local disk: the log, its archive, and the index built from them.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::RwLock;

use super::{
    JournalError, States, archive,
    index::{Facts, Index, IndexReading, LinkBefore, Unusable},
    log::{
        self, AloneWrite, Damage, LocalDisk, LogDisk, LogStage, LogWriteReply, LogWriteRequest,
        LogWriter, OpenMode, SegmentReader,
    },
};
use crate::{blocking::blocking, group_commit::GroupWriter, model::Timestamp, permit::WritePermit};

mod calls;

/// The index's folder, below the state directory.
pub(crate) const INDEX: &str = "index";
/// The least bytes of log after the newest base before another base is due.
const BASE_LEAST: u64 = 4 << 20;

/// A journal in a state directory. One thread writes for all callers, with one sync for all waiting
/// requests; readers see only durable events.
///
/// [`crate::state_dir`] ensures that only one process at a time opens a state directory.
///
/// After the first write or sync that fails, every call returns [`JournalError::Storage`]: it is
/// then unknown what was written, until the journal is opened again. The process should wait for
/// [`DiskJournal::failed`] and then end.
///
/// Dropping it finishes the waiting writes and closes the files, which may block for as long as a
/// sync takes; [`DiskJournal::close`] does the same without blocking the runtime.
pub struct DiskJournal {
    reader: RwLock<Option<SegmentReader>>,
    writer: Option<GroupWriter<LogWriter>>,
    index: Option<Index>,
    /// The states in the index when it was opened, until the first `states` call takes them.
    found: Mutex<Option<States>>,
    index_was_found: bool,
    permit: WritePermit,
}

/// The result of [`DiskJournal::archive`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Archived {
    /// How many segments were moved from the log into the archive.
    pub segments: u64,
    /// How many events are in them.
    pub events: u64,
}

impl DiskJournal {
    /// Opens the journal in the folder `dir` for appending, or creates it. `journal` is its
    /// identity.
    ///
    /// # Errors
    /// [`JournalError::Storage`] when the folder cannot be read or written,
    /// [`JournalError::Newer`] for a later format, [`JournalError::Damaged`] when an acknowledged
    /// event is missing or damaged; nothing was changed then.
    pub async fn open(dir: impl AsRef<Path>, journal: &str) -> Result<Self, JournalError> {
        Self::open_permitted(dir.as_ref(), journal, OpenMode::Make, WritePermit::always()).await
    }

    /// Opens it for reading: nothing is written, and damage is reported by the call that reads it.
    ///
    /// # Errors
    /// As for [`DiskJournal::open`], except for damage.
    pub async fn open_to_read(dir: impl AsRef<Path>, journal: &str) -> Result<Self, JournalError> {
        Self::open_permitted(dir.as_ref(), journal, OpenMode::Read, WritePermit::always()).await
    }

    /// Creates the log of a new journal. Blocks.
    pub(crate) fn make(dir: &Path, journal: &str) -> Result<(), JournalError> {
        Self::start(
            LocalDisk::new(dir),
            journal,
            OpenMode::Make,
            WritePermit::always(),
        )
        .map(drop)
    }

    /// Opens it in any mode. The journal asks the permit before each write.
    pub(crate) async fn open_permitted(
        dir: &Path,
        journal: &str,
        mode: OpenMode,
        permit: WritePermit,
    ) -> Result<Self, JournalError> {
        let (dir, journal) = (dir.to_owned(), journal.to_owned());
        blocking(move || {
            if mode == OpenMode::Make {
                crate::files::create_dir(&dir)
                    .map_err(|e| JournalError::Storage(format!("{}: {e}", dir.display())))?;
            }
            let index = dir.join(INDEX);
            let boot_id = boot_id();
            let reading = boot_id
                .as_deref()
                .filter(|_| mode.only_reads())
                .map(|boot_id| Index::begin_read(&index, boot_id));
            let disk = LocalDisk::new(&dir);
            let mut journal = Self::start(disk, &journal, mode, permit.clone())?;
            match (reading, boot_id) {
                (Some(reading), _) => journal.take_index(reading),
                (None, Some(boot_id)) => journal.open_index(&index, boot_id, permit),
                (None, None) => {}
            }
            Ok(journal)
        })
        .await
    }

    /// Opens the log only, without an index.
    pub(crate) fn start(
        disk: Arc<dyn LogDisk>,
        journal: &str,
        mode: OpenMode,
        permit: WritePermit,
    ) -> Result<Self, JournalError> {
        let opened = log::open(disk, journal, mode, permit.clone())?;
        let writer = opened.writer.map(|writer| {
            let stage = LogStage::new(opened.shared.clone());
            GroupWriter::start("journal-writer", stage, writer)
        });
        Ok(Self {
            reader: RwLock::new(Some(SegmentReader::new(opened.shared))),
            writer: writer.transpose()?,
            index: None,
            found: Mutex::default(),
            index_was_found: false,
            permit,
        })
    }

    /// Opens the index. A failure never prevents the journal from opening: without an index the
    /// states are folded from the log.
    fn open_index(&mut self, dir: &Path, boot_id: String, permit: WritePermit) {
        let Some(link_before) = self.link_before() else {
            return;
        };
        let facts = Facts {
            boot_id,
            link_before,
        };
        let opened = Index::open(dir, facts, permit);
        self.index = Some(opened.index);
        self.note_index(opened.states, opened.rebuilt);
    }

    /// Takes the states of an index that is only read.
    fn take_index(&mut self, reading: IndexReading) {
        let Some(link_before) = self.link_before() else {
            return;
        };
        match reading.states(&link_before) {
            Ok(states) => self.note_index(Some(states), None),
            Err(unusable) => self.note_index(None, Some(unusable)),
        }
    }

    fn note_index(&mut self, found: Option<States>, unusable: Option<Unusable>) {
        if let Some(why) = unusable {
            tracing::warn!("the index is made again from the log: {why}");
        }
        self.index_was_found = found.is_some();
        *self.found.get_mut().unwrap_or_else(PoisonError::into_inner) = found;
    }

    fn link_before(&self) -> Option<LinkBefore> {
        let reader = self.reader.try_read().ok()?.clone()?;
        Some(Box::new(move |offset| reader.link_before(offset)))
    }

    /// Waits until the disk fails; forever if it does not. Cancel safe.
    pub async fn failed(&self) -> JournalError {
        match &self.writer {
            Some(writer) => writer.failed().await,
            None => std::future::pending().await,
        }
    }

    /// Makes writes fail, instead of waiting, if there is no room on the disk. To be called before
    /// closing: work that waits for such a write might never end.
    pub fn wait_no_more(&self) {
        self.permit.close();
    }

    /// Finishes the waiting writes and closes the files. Later calls return
    /// [`JournalError::Closed`].
    ///
    /// Cancel safety: if the future is dropped, dropping the journal closes it.
    pub async fn close(&self) {
        self.permit.close();
        if let Some(writer) = &self.writer {
            writer.close().await;
        }
        if let Some(index) = &self.index {
            index.close().await;
        }
        drop(self.reader.write().await.take());
    }

    /// The damage that is not repaired, in the order of offsets.
    ///
    /// # Errors
    /// [`JournalError::Closed`], or [`JournalError::Storage`] after a failed write.
    pub async fn damage(&self) -> Result<Vec<Damage>, JournalError> {
        self.with_reader(|reader| Ok(reader.damage())).await
    }

    /// Compresses every segment whose newest event is older than `before` into the archive. If that
    /// applies to the newest segment, a new one is started first. Appending and reading continue.
    ///
    /// Cancel safety: like a crash; each segment is in the log, in the archive, or in both.
    ///
    /// # Errors
    /// When the archive cannot be written.
    pub async fn archive(&self, before: Timestamp) -> Result<Archived, JournalError> {
        if self
            .with_reader(move |reader| reader.newest_is_older_than(before))
            .await?
        {
            self.write_alone(AloneWrite::Roll).await?;
        }
        self.beside(move |reader| {
            let mut archived = Archived::default();
            for segment in reader.older_than(before)? {
                archive::retire(reader.shared(), &segment)?;
                archived.segments = archived.segments.saturating_add(1);
                archived.events = archived.events.saturating_add(reader.events_of(&segment));
            }
            Ok(archived)
        })
        .await
    }

    /// What [`DiskJournal::archive`] would move, without moving it.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub async fn to_archive(&self, before: Timestamp) -> Result<Archived, JournalError> {
        self.with_reader(move |reader| {
            let segments = reader.older_than(before)?;
            let events = segments.iter().map(|segment| reader.events_of(segment));
            let mut archivable = Archived {
                segments: segments.len() as u64,
                events: events.sum(),
            };
            if reader.newest_is_older_than(before)? {
                archivable.segments = archivable.segments.saturating_add(1);
                archivable.events = archivable.events.saturating_add(reader.newest_events());
            }
            Ok(archivable)
        })
        .await
    }

    /// Reads on a thread outside the runtime. A storage error ends all writing.
    async fn with_reader<T: Send + 'static>(
        &self,
        read: impl FnOnce(&SegmentReader) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        if let Some(writer) = &self.writer {
            writer.check()?;
        }
        let reader = self
            .reader
            .read()
            .await
            .clone()
            .ok_or(JournalError::Closed)?;
        let answer = blocking(move || read(&reader)).await;
        // A disk that fails for a reader has also failed for the writer.
        if let (Some(writer), Err(error @ JournalError::Storage(_))) = (&self.writer, &answer) {
            writer.fail(error);
        }
        answer
    }

    /// Like `with_reader`, for work whose failure does not end writing, such as archiving.
    async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SegmentReader) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, JournalError> {
        let reader = self
            .reader
            .read()
            .await
            .clone()
            .ok_or(JournalError::Closed)?;
        blocking(move || work(&reader)).await
    }

    async fn write_alone(&self, request: AloneWrite) -> Result<LogWriteReply, JournalError> {
        self.write(LogWriteRequest::Alone(request)).await
    }

    async fn write(&self, request: LogWriteRequest) -> Result<LogWriteReply, JournalError> {
        let writer = self
            .writer
            .as_ref()
            .ok_or_else(|| JournalError::Storage("the journal was opened to be read".to_owned()))?;
        writer.write(request).await
    }
}

impl Drop for DiskJournal {
    fn drop(&mut self) {
        self.permit.close();
    }
}

/// The kernel's ID of the current boot of this machine.
fn boot_id() -> Option<String> {
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(boot_id.trim().to_owned())
}

fn unexpected() -> JournalError {
    JournalError::Storage("the writer answered another request".to_owned())
}

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;
