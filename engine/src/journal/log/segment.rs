//! One segment: its file, what it says of itself, and its table as far as that is in memory.

use std::{
    io,
    sync::{Arc, PoisonError, RwLock},
};

use super::{
    FOLDER,
    disk::{Disk, DiskFile, read_all},
    error::{damaged, unread},
    header::{self, Header},
    scan::{Scan, scan},
    table::Table,
};
use crate::journal::{JournalError, Offset};

/// The digits of a segment's name.
const DIGITS: usize = 20;
/// What a table's name ends with.
const TABLE: &str = ".table";

/// The name of the segment that begins with an offset, its folder before it.
pub(super) fn name_of(folder: &str, first: Offset) -> String {
    format!("{folder}/{first:020}")
}

/// The offset that a segment's name says, where it is one.
pub(super) fn first_of(name: &str) -> Option<Offset> {
    let digits = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| digits)
}

/// Whether a name is that of a segment's table.
pub(super) fn is_table(name: &str) -> bool {
    name.strip_suffix(TABLE)
        .is_some_and(|name| first_of(name).is_some())
}

/// What is read to see a segment: its own file, or the archive's that unpacks it.
pub(in crate::journal) trait Source: Send + Sync {
    /// Reads until the buffer is full or the segment ends; how many bytes that were.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize>;
}

impl Source for Arc<dyn DiskFile> {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        (**self).read_at(buffer, at)
    }
}

/// A table's whereabouts.
enum Slot {
    /// The segment is appended to.
    Growing(Box<Table>),
    /// The segment is full; its table may be forgotten once it is on the disk.
    Whole(Arc<Table>),
    /// It is read when it is wanted.
    Unread,
}

/// A segment of the log.
pub(in crate::journal) struct Segment {
    pub(super) header: Header,
    /// Its name, its folder before it.
    pub(super) name: String,
    /// The bytes of its file as far as they are set aside for it.
    pub(super) size: u64,
    source: Arc<dyn Source>,
    /// Where its events end; of the newest, where they ended when it was opened.
    slot: RwLock<Slot>,
}

impl Segment {
    /// The segment that is appended to.
    pub(super) fn growing(
        header: Header,
        name: String,
        size: u64,
        file: Arc<dyn DiskFile>,
        table: Table,
    ) -> Self {
        Self {
            header,
            name,
            size,
            source: Arc::new(file),
            slot: RwLock::new(Slot::Growing(Box::new(table))),
        }
    }

    /// A segment that is full.
    pub(super) fn full(
        header: Header,
        name: String,
        size: u64,
        source: Arc<dyn Source>,
        table: Option<Table>,
    ) -> Self {
        let slot = table.map_or(Slot::Unread, |table| Slot::Whole(Arc::new(table)));
        Self {
            header,
            name,
            size,
            source,
            slot: RwLock::new(slot),
        }
    }

    pub(super) fn table_name(&self) -> String {
        format!("{}{TABLE}", self.name)
    }

    /// Looks at the table; `load` gets it where it is not in memory.
    pub(super) fn with_table<T>(
        &self,
        load: impl FnOnce() -> Result<Table, JournalError>,
        look: impl FnOnce(&Table) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let table = match &*self.slot.read().unwrap_or_else(PoisonError::into_inner) {
            Slot::Growing(table) => return look(table),
            Slot::Whole(table) => Some(table.clone()),
            Slot::Unread => None,
        };
        if let Some(table) = table {
            return look(&table);
        }
        let table = Arc::new(load()?);
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Slot::Whole(table.clone());
        look(&table)
    }

    /// Changes the table of the segment that is appended to.
    pub(super) fn grow(&self, change: impl FnOnce(&mut Table)) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Growing(table) = &mut *slot {
            change(table);
        }
    }

    /// Nothing more is appended; the table, to be written down.
    pub(super) fn finish(&self) -> Option<Arc<Table>> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if let Slot::Growing(table) = &mut *slot {
            *slot = Slot::Whole(Arc::new(std::mem::take(table)));
        }
        match &*slot {
            Slot::Whole(table) => Some(table.clone()),
            _ => None,
        }
    }

    /// The table of a segment that nothing more is appended to.
    pub(super) fn set_table(&mut self, table: Table) {
        self.slot = RwLock::new(Slot::Whole(Arc::new(table)));
    }

    /// Forgets a table that can be read again.
    pub(super) fn forget_table(&self) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*slot, Slot::Whole(_)) {
            *slot = Slot::Unread;
        }
    }

    pub(super) fn read(&self, at: u64, len: usize) -> Result<Vec<u8>, JournalError> {
        let mut bytes = vec![0; len];
        let read = self.source.read_at(&mut bytes, at);
        let read = read.map_err(|e| unread(&self.name, &e))?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Reads all of it. `after` is the header of the segment after it.
    pub(super) fn scan(&self, after: Option<&Header>) -> Result<Scan, JournalError> {
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        Ok(scan(&self.read(0, size)?, &self.header, after))
    }
}

/// Reads a segment's header.
pub(super) fn read_header(name: &str, source: &dyn Source) -> Result<Header, JournalError> {
    let mut bytes = vec![0; header::LEN];
    let read = source
        .read_at(&mut bytes, 0)
        .map_err(|e| unread(name, &e))?;
    bytes.truncate(read);
    if bytes.is_empty() {
        return Err(damaged(name, "it is empty"));
    }
    Header::decode(&bytes).map_err(|e| e.of_file(name))
}

/// Reads a table; none where it is missing or not whole.
pub(super) fn read_table(disk: &dyn Disk, name: &str) -> Option<Table> {
    let file = disk.open(name, false).ok()?;
    Table::decode(&read_all(&*file).ok()?)
}

/// Writes a table; it is in its place whole or not at all.
pub(super) fn write_table(disk: &dyn Disk, segment: &Segment, table: &Table) -> io::Result<()> {
    let (name, part) = (segment.table_name(), "table.part");
    disk.remove(part)?;
    let file = disk.create(part)?;
    file.write_at(&table.encode(), 0)?;
    file.sync_all()?;
    disk.sync_folder("")?;
    disk.rename(part, &name)?;
    disk.sync_folder(segment.name.split('/').next().unwrap_or(FOLDER))?;
    disk.sync_folder("")
}
