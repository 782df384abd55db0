//! One segment: its file, its header, and its table if that is in memory.

use std::{
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    FOLDER,
    disk::{DiskFile, LogDisk, read_all},
    error::{damaged, unread},
    header::{self, SegmentHeader},
    scan::{Scan, scan},
    table::SegmentTable,
};
use crate::journal::{JournalError, Offset};

/// The digits of a segment's name.
const DIGITS: usize = 20;
/// The ending of a table's name.
const TABLE: &str = ".table";

/// The name, with folder, of the segment that begins with an offset.
pub(super) fn name_of(folder: &str, first: Offset) -> String {
    format!("{folder}/{first:020}")
}

/// The offset in a segment's name; none if it is not such a name.
pub(super) fn first_of(name: &str) -> Option<Offset> {
    let digits = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| digits)
}

/// Whether a file name is the name of a segment's table.
pub(super) fn is_table(name: &str) -> bool {
    name.strip_suffix(TABLE)
        .is_some_and(|name| first_of(name).is_some())
}

/// The content of a segment: its file in the log, or an archived file that is unpacked.
pub(in crate::journal) trait SegmentSource: Send + Sync {
    /// Reads until the buffer is full or the segment ends; returns how many bytes were read.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

impl SegmentSource for Arc<dyn DiskFile> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        (**self).read_at(buffer, at)
    }
}

/// Where a segment's table is.
enum SegmentSlot {
    /// The segment is appended to.
    Growing(Box<SegmentTable>),
    /// The segment is full; its table may be dropped from memory once it is on the disk.
    Whole(Arc<SegmentTable>),
    /// The table of a full segment, without its streams.
    Head(Arc<SegmentTable>),
    /// The table is not in memory; it is read when it is needed.
    Unread,
}

/// A segment of the log.
pub(in crate::journal) struct Segment {
    pub(super) header: SegmentHeader,
    /// Its name, with folder.
    pub(super) name: String,
    /// The allocated size of its file, in bytes; for an archived one, its uncompressed length.
    size: AtomicU64,
    source: Arc<dyn SegmentSource>,
    /// Its table, if that is in memory.
    slot: RwLock<SegmentSlot>,
    /// Whether it was moved to the archive. Locked while its table is written into the log, and while
    /// both are removed from the log.
    is_moved: Mutex<bool>,
}

impl Segment {
    /// The segment that is appended to.
    pub(super) fn growing(
        header: SegmentHeader,
        name: String,
        size: u64,
        file: Arc<dyn DiskFile>,
        table: SegmentTable,
    ) -> Self {
        Self {
            header,
            name,
            size: size.into(),
            source: Arc::new(file),
            slot: RwLock::new(SegmentSlot::Growing(Box::new(table))),
            is_moved: Mutex::default(),
        }
    }

    /// A segment that is full.
    pub(super) fn full(
        header: SegmentHeader,
        name: String,
        size: u64,
        source: Arc<dyn SegmentSource>,
        table: Option<SegmentTable>,
    ) -> Self {
        let slot = table.map_or(SegmentSlot::Unread, |table| {
            SegmentSlot::Whole(Arc::new(table))
        });
        Self {
            header,
            name,
            size: size.into(),
            source,
            slot: RwLock::new(slot),
            is_moved: Mutex::default(),
        }
    }

    /// The allocated size of its file, in bytes; for an archived one, its uncompressed length.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Notes that its file was extended to `size` bytes.
    pub(super) fn widen(&self, size: u64) {
        self.size.fetch_max(size, Ordering::AcqRel);
    }

    pub(super) fn table_name(&self) -> String {
        format!("{}{TABLE}", self.name)
    }

    /// Looks at the table; `load` reads it if it is not in memory.
    pub(super) fn with_table<T>(
        &self,
        load: impl FnOnce() -> Result<SegmentTable, JournalError>,
        look: impl FnOnce(&SegmentTable) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.with_loaded_table(true, look).unwrap_or_else(|look| {
            let table = Arc::new(load()?);
            *self.slot.write().unwrap_or_else(PoisonError::into_inner) =
                SegmentSlot::Whole(table.clone());
            look(&table)
        })
    }

    /// Like `with_table`, but the table may lack its streams.
    pub(super) fn with_head<T>(
        &self,
        load: impl FnOnce() -> Result<SegmentTable, JournalError>,
        look: impl FnOnce(&SegmentTable) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        self.with_loaded_table(false, look).unwrap_or_else(|look| {
            let table = Arc::new(load()?);
            let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
            if matches!(&*slot, SegmentSlot::Unread) {
                *slot = SegmentSlot::Head(table.clone());
            }
            drop(slot);
            look(&table)
        })
    }

    /// Looks at the table once: if it has to be loaded, it is not stored in memory.
    pub(super) fn read_table_once<T>(
        &self,
        load: impl FnOnce() -> Result<SegmentTable, JournalError>,
        look: impl FnOnce(&SegmentTable) -> T,
    ) -> Result<T, JournalError> {
        self.with_loaded_table(true, look)
            .map_or_else(|look| load().map(|table| look(&table)), Ok)
    }

    /// Looks at the table if it is in memory, with its streams if `streams` is set; otherwise returns
    /// `look`.
    fn with_loaded_table<T, L: FnOnce(&SegmentTable) -> T>(
        &self,
        streams: bool,
        look: L,
    ) -> Result<T, L> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        let table = match &*slot {
            SegmentSlot::Growing(table) => return Ok(look(table)),
            SegmentSlot::Whole(table) => table.clone(),
            SegmentSlot::Head(table) if !streams => table.clone(),
            SegmentSlot::Head(_) | SegmentSlot::Unread => return Err(look),
        };
        drop(slot);
        Ok(look(&table))
    }

    /// Changes the table of the segment that is appended to.
    pub(super) fn grow(&self, change: impl FnOnce(&mut SegmentTable)) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if let SegmentSlot::Growing(table) = &mut *slot {
            change(table);
        }
    }

    /// Marks the segment as full. Returns the table, to be written to the disk.
    pub(super) fn finish(&self) -> Option<Arc<SegmentTable>> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if let SegmentSlot::Growing(table) = &mut *slot {
            *slot = SegmentSlot::Whole(Arc::new(std::mem::take(table)));
        }
        match &*slot {
            SegmentSlot::Whole(table) => Some(table.clone()),
            _ => None,
        }
    }

    /// Whether it was moved to the archive; that cannot change while the guard is held.
    pub(super) fn is_moved(&self) -> MutexGuard<'_, bool> {
        self.is_moved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the table of a segment that is not appended to.
    pub(super) fn set_table(&mut self, table: SegmentTable) {
        self.slot = RwLock::new(SegmentSlot::Whole(Arc::new(table)));
    }

    /// Drops a table from memory that can be read again.
    pub(super) fn forget_table(&self) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*slot, SegmentSlot::Whole(_) | SegmentSlot::Head(_)) {
            *slot = SegmentSlot::Unread;
        }
    }

    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; len];
        let bytes_read = self.source.read_at(&mut bytes, at);
        bytes.truncate(bytes_read.map_err(|e| unread(&self.name, &e))?);
        Ok(bytes)
    }

    /// Scans the whole segment. `after` is the header of the next segment.
    pub(super) fn scan(&self, after: Option<&SegmentHeader>) -> Result<Scan, JournalError> {
        let size = usize::try_from(self.size()).unwrap_or(usize::MAX);
        Ok(scan(&self.read(0, size)?, &self.header, after))
    }
}

/// Reads a segment's header.
pub(super) fn read_header(
    name: &str,
    source: &dyn SegmentSource,
) -> Result<SegmentHeader, JournalError> {
    let mut bytes = vec![0; header::LEN];
    let bytes_read = source
        .read_at(&mut bytes, 0)
        .map_err(|e| unread(name, &e))?;
    bytes.truncate(bytes_read);
    if bytes.is_empty() {
        return Err(damaged(name, "it is empty"));
    }
    SegmentHeader::decode(&bytes).map_err(|e| e.of_file(name))
}

/// Reads a table; none if it is missing or damaged.
pub(super) fn read_table(disk: &dyn LogDisk, name: &str) -> Option<SegmentTable> {
    let file = disk.open(name, false).ok()?;
    SegmentTable::decode(&read_all(&*file).ok()?)
}

/// Reads a table without its streams; none if it is missing or damaged.
pub(super) fn read_head(disk: &dyn LogDisk, name: &str) -> Option<SegmentTable> {
    let file = disk.open(name, false).ok()?;
    SegmentTable::decode_head(&read_all(&*file).ok()?)
}

/// Writes a table, whole or not at all. `part` is its temporary name, which no other thread may use
/// at the same time.
pub(super) fn write_table(
    disk: &dyn LogDisk,
    segment: &Segment,
    part: &str,
    table: &SegmentTable,
) -> io::Result<()> {
    let name = segment.table_name();
    disk.remove(part)?;
    let file = disk.create(part)?;
    file.write_at(&table.encode(), 0)?;
    file.sync_all()?;
    disk.sync_folder("")?;
    disk.rename(part, &name)?;
    disk.sync_folder(segment.name.split('/').next().unwrap_or(FOLDER))?;
    disk.sync_folder("")
}
