//! Opens a log: follows its segments from one to the next, and distinguishes its end from damage.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    FIRST_SIZE, FOLDER, base,
    disk::LogDisk,
    error::{damaged, storage},
    find::{FoundLog, find},
    header::SegmentHeader,
    keeper::{self, Spare},
    scan::position_of,
    segment::{Segment, read_head, read_table},
    settle::settle,
    shared::{Damage, LogShared, write},
    table::SegmentTable,
    writer::{LogWriter, WriterEnd, begin, salt},
};
use crate::{
    journal::{BatchLink, JournalError, Missing, MissingCause, Offset},
    permit::WritePermit,
};

/// How a log is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OpenMode {
    /// For appending; the log is created if there is none.
    Make,
    /// For appending to an existing log.
    Append,
    /// For reading: nothing is written, and reading damaged events is an error.
    Read,
    /// For reading past damage: nothing is written, and every byte is read first to find all damage.
    Inspect,
}

impl OpenMode {
    /// Whether nothing is written.
    pub(in crate::journal) fn only_reads(self) -> bool {
        matches!(self, Self::Read | Self::Inspect)
    }
}

/// An open log.
pub(in crate::journal) struct OpenedLog {
    pub(in crate::journal) shared: Arc<LogShared>,
    /// None if the log was opened for reading.
    pub(in crate::journal) writer: Option<LogWriter>,
}

/// Opens the log below a state directory. `journal` is the journal's identity. Blocks.
///
/// # Errors
/// [`JournalError::Damaged`] if it is opened for appending and an acknowledged event is missing or
/// damaged, or if the segments do not belong together; nothing was changed then.
/// [`JournalError::Newer`] for a later format.
pub(in crate::journal) fn open(
    disk: Arc<dyn LogDisk>,
    journal: &str,
    mode: OpenMode,
    permit: WritePermit,
) -> Result<OpenedLog, JournalError> {
    let (files, unreadable) = find(&*disk)?;
    if files.is_empty() {
        return match (mode, unreadable.into_iter().next()) {
            (_, Some((_, error))) => Err(error),
            (OpenMode::Make, None) => make(disk, journal, permit),
            _ => Err(damaged(FOLDER, "the log is gone: it has no segment")),
        };
    }
    let mut chain = Chain::begin(disk, journal, unreadable);
    chain.shared.passes_damage = mode == OpenMode::Inspect;
    if mode == OpenMode::Read {
        chain.shared.read_streams_later();
        chain.read_table = read_head;
    }
    let mut segments = files.into_values().peekable();
    while let Some(file) = segments.next() {
        let next = segments.peek().map(|next| &next.header);
        match next {
            Some(next) => chain.full(file, next)?,
            None => return chain.last(file, mode, permit),
        }
    }
    Err(damaged(FOLDER, "the log is gone: it has no segment"))
}

/// The log as far as its segments were followed.
struct Chain {
    shared: LogShared,
    /// The offset and the position where the previous segment ended.
    next: Offset,
    position: u64,
    /// Full segments whose tables are not on the disk.
    untabled: Vec<Arc<Segment>>,
    /// Segments that cannot be read, by their first offsets.
    unreadable: BTreeMap<Offset, JournalError>,
    /// The offset of the first segment, if it is not 0 and the earlier ones do not exist.
    begins_late: Option<Offset>,
    begun: bool,
    /// Reads a table, with its streams or without.
    read_table: fn(&dyn LogDisk, &str) -> Option<SegmentTable>,
}

impl Chain {
    fn begin(
        disk: Arc<dyn LogDisk>,
        journal: &str,
        unreadable: BTreeMap<Offset, JournalError>,
    ) -> Self {
        Self {
            shared: LogShared::new(disk, journal.to_owned()),
            next: 0,
            position: 0,
            untabled: Vec::new(),
            unreadable,
            begins_late: None,
            begun: false,
            read_table,
        }
    }

    /// Checks that a segment belongs to the journal and continues where the previous one ended. Notes
    /// the damage if events are missing in between.
    fn follow(&mut self, found: &FoundLog) -> Result<(), JournalError> {
        let header = &found.header;
        if header.journal != self.shared.journal {
            let (ours, theirs) = (&self.shared.journal, &header.journal);
            let why =
                format!("it is a segment of the journal {theirs}, and this is the journal {ours}");
            return Err(damaged(&found.name, why));
        }
        if header.first > self.next {
            let (from, to) = (self.next, header.first);
            if let Some((_, error)) = self.unreadable.range(from..to).next() {
                self.unreadable_damage(from, to, &error.clone());
            } else if self.begun {
                self.damage(from, to, FOLDER, "a segment is missing");
            } else {
                self.begins_late = Some(to);
            }
        } else if header.first < self.next {
            let why = format!(
                "it begins at offset {}, where the one before it goes up to {}",
                header.first, self.next
            );
            return Err(damaged(&found.name, why));
        } else if self.begun
            && (header.position != self.position || !ends_alike(header.before, self.shared.link()))
        {
            let why = "it does not follow the segment before it: segments of two logs are mixed";
            return Err(damaged(&found.name, why));
        }
        if let Some(link) = header.before {
            self.shared.set_tip(link);
        }
        (self.begun, self.next, self.position) = (true, header.first, header.position);
        Ok(())
    }

    /// Checks whether a base covers the segments that are missing at the beginning. If so, they count
    /// as removed, otherwise as damaged.
    fn check_beginning(&self) {
        let Some(to) = self.begins_late else { return };
        if base::offsets(&self.shared).last() >= Some(&to) {
            let (from, cause) = (0, MissingCause::Removed);
            write(&self.shared.missing).push(Missing { from, to, cause });
        } else {
            let why = "the first segment is missing, and no base covers it";
            self.damage(0, to, FOLDER, why);
        }
    }

    fn damage(&self, from: Offset, to: Offset, file: &str, why: &str) {
        let (file, why) = (file.to_owned(), why.to_owned());
        write(&self.shared.damage).push(Damage {
            from,
            to,
            file,
            why,
        });
    }

    fn unreadable_damage(&self, from: Offset, to: Offset, error: &JournalError) {
        match error.damage() {
            Some(damage) => self.damage(from, to, &damage.place, &damage.why),
            None => self.damage(from, to, FOLDER, &error.to_string()),
        }
    }

    fn note_damage(&self, name: &str, table: &SegmentTable) {
        for (from, to) in &table.damage {
            self.damage(*from, *to, name, "its bytes were changed");
        }
    }

    fn add_table(&mut self, first: Offset, table: &SegmentTable) {
        self.shared.add_table(first, table);
        let gaps = table.gaps.iter().map(|(gap, cause)| Missing {
            from: gap.first,
            to: gap.last.saturating_add(1),
            cause: *cause,
        });
        write(&self.shared.missing).extend(gaps);
        self.next = self.shared.tip().next.max(self.next);
    }

    /// Adds a segment that another one follows. Its table is used; without a valid table, the segment
    /// is scanned.
    fn full(&mut self, found: FoundLog, after: &SegmentHeader) -> Result<(), JournalError> {
        self.follow(&found)?;
        let stored_table = (self.read_table)(&*self.shared.disk, &format!("{}.table", found.name));
        let fits = |table: &SegmentTable| {
            let len = usize::try_from(table.end).unwrap_or(usize::MAX);
            let end = position_of(&found.header, len);
            let reaches = end == after.position || (after.repaired && end < after.position);
            reaches && u64::from(table.end) <= found.size
        };
        let table = stored_table.filter(|table| !self.shared.passes_damage && fits(table));
        let (first, name) = (found.header.first, found.name.clone());
        let (header, size, archived) = (found.header, found.size, found.archived);
        let mut segment = Segment::full(header, name, size, found.source, None);
        if let Some(table) = table {
            self.add_table(first, &table);
            self.position = after.position;
            self.shared.push_segment(Arc::new(segment));
            return Ok(());
        }
        let scanned = segment.scan(Some(after))?.table;
        self.note_damage(&segment.name, &scanned);
        self.add_table(first, &scanned);
        let lost_to = scanned.damage.last().map_or(0, |(_, to)| *to);
        self.next = self.next.max(lost_to);
        self.position = after.position;
        if !scanned.damage.is_empty() {
            // The next segment continues from the link in its own header.
            if let Some(link) = after.before {
                self.shared.set_tip(link);
            }
        }
        let whole = scanned.damage.is_empty() && !archived;
        segment.set_table(scanned);
        let segment = Arc::new(segment);
        self.shared.push_segment(segment.clone());
        if whole {
            self.untabled.push(segment);
        }
        Ok(())
    }

    /// Adds the newest segment, all of which is scanned, and finishes opening.
    fn last(
        mut self,
        found: FoundLog,
        mode: OpenMode,
        permit: WritePermit,
    ) -> Result<OpenedLog, JournalError> {
        self.follow(&found)?;
        let table = format!("{}.table", found.name);
        let was_full = found.archived || read_head(&*self.shared.disk, &table).is_some();
        let segment = Segment::full(found.header, found.name, found.size, found.source, None);
        let scan = segment.scan(None)?;
        self.note_damage(&segment.name, &scan.table);
        self.add_table(segment.header.first, &scan.table);
        self.check_beginning();
        // It is unknown how many events were in segments after it that are missing or unreadable.
        if was_full
            && self
                .unreadable
                .range(segment.header.first..)
                .next()
                .is_none()
        {
            let next = self.next;
            let why = "the segment after it is missing, the newest one";
            self.damage(next, next.saturating_add(1), &segment.name, why);
        }
        for (first, error) in self.unreadable.range(segment.header.first..) {
            self.unreadable_damage(*first, first.saturating_add(1), error);
        }
        if mode.only_reads() {
            let mut last = segment;
            last.set_table(scan.table);
            self.shared.push_segment(Arc::new(last));
            return Ok(OpenedLog {
                shared: Arc::new(self.shared),
                writer: None,
            });
        }
        if let Some(damage) = super::shared::read(&self.shared.damage).first() {
            return Err(damage.error());
        }
        let end = settle(&*self.shared.disk, segment, scan)?;
        self.shared.push_segment(end.segment.clone());
        self.writer(end, permit)
    }

    fn writer(self, end: WriterEnd, permit: WritePermit) -> Result<OpenedLog, JournalError> {
        let shared = Arc::new(self.shared);
        shared
            .disk
            .remove(keeper::NEXT)
            .map_err(|e| storage(keeper::NEXT, &e))?;
        let writer = LogWriter::new(shared.clone(), end, permit)
            .map_err(|e| storage("the log's thread", &e))?;
        self.untabled
            .into_iter()
            .for_each(|segment| writer.save_table(segment));
        Ok(OpenedLog {
            shared,
            writer: Some(writer),
        })
    }
}

/// Whether two links have the same end. The link of a gap covers several batches, so the beginnings
/// may differ.
fn ends_alike(one: Option<BatchLink>, other: Option<BatchLink>) -> bool {
    let end = |link: BatchLink| (link.last, link.hash);
    one.map(end) == other.map(end)
}

/// Creates the first segment of a new log.
fn make(
    disk: Arc<dyn LogDisk>,
    journal: &str,
    permit: WritePermit,
) -> Result<OpenedLog, JournalError> {
    let shared = LogShared::new(disk, journal.to_owned());
    let file = keeper::make(&*shared.disk, FIRST_SIZE).map_err(|e| storage(keeper::NEXT, &e))?;
    let header = SegmentHeader {
        salt: salt(),
        first: 0,
        position: 0,
        before: None,
        journal: journal.to_owned(),
        repaired: false,
    };
    shared
        .disk
        .make_folder(FOLDER)
        .map_err(|e| storage(FOLDER, &e))?;
    let end = begin(
        &shared,
        header,
        Spare {
            file,
            size: FIRST_SIZE,
        },
    )?;
    shared.push_segment(end.segment.clone());
    let chain = Chain {
        shared,
        next: 0,
        position: 0,
        untabled: Vec::new(),
        unreadable: BTreeMap::new(),
        begins_late: None,
        begun: true,
        read_table,
    };
    chain.writer(end, permit)
}
