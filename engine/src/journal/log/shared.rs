//! What the writer and the readers of a log share: its segments, how far each stream goes, and
//! how far the log goes. Only what is durable is in it.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use super::{
    disk::LogDisk,
    frame::FramePart,
    reader::FrameMarks,
    scan::position_of,
    segment::{Segment, read_head, read_table},
    table::SegmentTable,
};
use crate::{
    journal::{
        BatchLink, JournalError, Missing, Offset, StreamHead,
        stage::{StagedBatch, StagedHead, Tip},
    },
    model::StreamId,
};

/// How far a stream goes, and which segments hold it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) head: StagedHead,
    /// The first offsets of the first and the last segment with records of it.
    pub(super) oldest: Offset,
    pub(super) newest: Offset,
}

type Extents = HashMap<StreamId, Extent>;

/// Takes in how far a segment's table says that streams go, in the order of the segments.
fn extend(streams: &mut Extents, first: Offset, table: &SegmentTable) {
    for (stream, places) in &table.streams {
        let (head, newest) = (places.head(), first);
        match streams.get_mut(stream) {
            Some(extent) => (extent.head, extent.newest) = (head, newest),
            None => {
                let extent = Extent {
                    head,
                    oldest: first,
                    newest,
                };
                streams.insert(stream.clone(), extent);
            }
        }
    }
}

/// A part of a base and where it lies.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartPlace {
    pub(super) part: FramePart,
    /// The first offset of its segment.
    pub(super) segment: Offset,
    pub(super) at: u32,
}

/// Events that were acknowledged and are not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The offset of the first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
    /// The file, its folder before it.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

impl Damage {
    /// As an error of whoever meets it.
    pub(in crate::journal) fn error(&self) -> JournalError {
        let place = match self.to.saturating_sub(self.from) {
            0 | 1 => format!("offset {}", self.from),
            _ => format!("offsets {} to {}", self.from, self.to.saturating_sub(1)),
        };
        let why = format!("{}: {}", self.file, self.why);
        JournalError::Damaged { place, why }
    }
}

/// See the module's text.
pub(in crate::journal) struct LogShared {
    pub(super) disk: Arc<dyn LogDisk>,
    /// The journal's identity.
    pub(super) journal: String,
    segments: RwLock<Vec<Arc<Segment>>>,
    /// None where nobody has asked for any yet, in a log that is only read.
    streams: RwLock<Option<Extents>>,
    tip: RwLock<Tip>,
    pub(super) bases: RwLock<Vec<PartPlace>>,
    /// Whatever cannot be read any more, but for damage.
    pub(super) missing: RwLock<Vec<Missing>>,
    pub(super) damage: RwLock<Vec<Damage>>,
    /// Whether readers pass over what is damaged; all of it is known then.
    pub(super) passes_damage: bool,
    /// Where readers stopped.
    pub(super) marks: FrameMarks,
}

pub(super) fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl LogShared {
    pub(super) fn new(disk: Arc<dyn LogDisk>, journal: String) -> Self {
        Self {
            disk,
            journal,
            segments: RwLock::default(),
            streams: RwLock::new(Some(Extents::default())),
            tip: RwLock::default(),
            bases: RwLock::default(),
            missing: RwLock::default(),
            damage: RwLock::default(),
            passes_damage: false,
            marks: FrameMarks::default(),
        }
    }

    /// Nothing is written: its streams are read when somebody asks for one.
    pub(super) fn read_streams_later(&mut self) {
        self.streams = RwLock::default();
    }

    /// The segments, the oldest first.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        read(&self.segments).clone()
    }

    /// The segments from the one that holds an offset on.
    pub(super) fn segments_from(&self, offset: Offset) -> Vec<Arc<Segment>> {
        let all = read(&self.segments);
        let after = all.partition_point(|segment| segment.header.first <= offset);
        all.get(after.saturating_sub(1)..)
            .unwrap_or_default()
            .to_vec()
    }

    /// The segment that begins with an offset.
    pub(super) fn segment(&self, first: Offset) -> Option<Arc<Segment>> {
        let all = read(&self.segments);
        let at = all.binary_search_by_key(&first, |segment| segment.header.first);
        all.get(at.ok()?).cloned()
    }

    pub(super) fn push_segment(&self, segment: Arc<Segment>) {
        write(&self.segments).push(segment);
    }

    /// Puts another in the place of a segment, such as its archived form.
    pub(super) fn replace_segment(&self, segment: Arc<Segment>) {
        let mut all = write(&self.segments);
        let first = segment.header.first;
        if let Ok(at) = all.binary_search_by_key(&first, |other| other.header.first)
            && let Some(slot) = all.get_mut(at)
        {
            *slot = segment;
        }
    }

    /// Looks at a segment's table, which is read from the disk or made anew where that is needed.
    pub(super) fn with_table<T>(
        &self,
        segment: &Segment,
        look: impl FnOnce(&SegmentTable) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        segment.with_table(|| self.load_table(segment), look)
    }

    /// The same for whoever does not ask for its streams.
    pub(super) fn with_head<T>(
        &self,
        segment: &Segment,
        look: impl FnOnce(&SegmentTable) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let load = || match read_head(&*self.disk, &segment.table_name()) {
            Some(table) => Ok(table),
            None => self.scan_table(segment),
        };
        segment.with_head(load, look)
    }

    fn load_table(&self, segment: &Segment) -> Result<SegmentTable, JournalError> {
        match read_table(&*self.disk, &segment.table_name()) {
            Some(table) => Ok(table),
            None => self.scan_table(segment),
        }
    }

    fn scan_table(&self, segment: &Segment) -> Result<SegmentTable, JournalError> {
        let after = self.segments_from(segment.header.first.saturating_add(1));
        let after = after.iter().find(|s| s.header.first > segment.header.first);
        Ok(segment.scan(after.map(|after| &after.header))?.table)
    }

    /// How far a stream goes.
    pub(super) fn head(&self, stream: &StreamId) -> Result<StagedHead, JournalError> {
        let extent = self.extent(stream)?;
        Ok(extent.map(|extent| extent.head).unwrap_or_default())
    }

    pub(super) fn extent(&self, stream: &StreamId) -> Result<Option<Extent>, JournalError> {
        self.with_streams(|streams| streams.get(stream).copied())
    }

    pub(super) fn streams(&self) -> Result<Vec<(StreamId, StagedHead)>, JournalError> {
        self.with_streams(|streams| {
            let heads = streams
                .iter()
                .map(|(stream, extent)| (stream.clone(), extent.head));
            heads.collect()
        })
    }

    fn with_streams<T>(&self, look: impl FnOnce(&Extents) -> T) -> Result<T, JournalError> {
        if let Some(streams) = &*read(&self.streams) {
            return Ok(look(streams));
        }
        let mut slot = write(&self.streams);
        let streams = match slot.take() {
            Some(streams) => streams,
            None => self.read_streams()?,
        };
        Ok(look(slot.insert(streams)))
    }

    fn read_streams(&self) -> Result<Extents, JournalError> {
        let mut streams = Extents::new();
        for segment in self.segments() {
            segment.read_table_once(
                || self.load_table(&segment),
                |table| extend(&mut streams, segment.header.first, table),
            )?;
        }
        Ok(streams)
    }

    pub(super) fn tip(&self) -> Tip {
        *read(&self.tip)
    }

    pub(super) fn link(&self) -> Option<BatchLink> {
        self.tip().link
    }

    /// The bytes of the log since the newest base, and those of that base at the most.
    pub(super) fn since_base(&self) -> (u64, u64) {
        let position = |first, at: u32| {
            let segment = self.segment(first)?;
            Some(position_of(&segment.header, usize::try_from(at).ok()?))
        };
        let newest = read(&self.bases).last().copied();
        let begun = newest
            .and_then(|place| position(place.segment, place.at))
            .unwrap_or_default();
        let size = newest.map_or(0, |place| {
            u64::from(place.part.of).saturating_mul(super::base::PART as u64)
        });
        let end = read(&self.segments).last().cloned();
        let end = end.and_then(|segment| {
            let at = self.with_table(&segment, |table| Ok(table.end)).ok()?;
            position(segment.header.first, at)
        });
        (end.unwrap_or_default().saturating_sub(begun), size)
    }

    /// Takes in what a segment's table tells, in the order of the segments.
    pub(super) fn add_table(&self, first: Offset, table: &SegmentTable) {
        if let Some(streams) = &mut *write(&self.streams) {
            extend(streams, first, table);
        }
        let parts = table.bases.iter().map(|(part, at)| PartPlace {
            part: *part,
            segment: first,
            at: *at,
        });
        write(&self.bases).extend(parts);
        if let Some(link) = table.link {
            self.set_tip(link);
        }
    }

    /// The first damage between two offsets, the second excluded.
    pub(super) fn damage_within(&self, from: Offset, to: Offset) -> Option<Damage> {
        if self.passes_damage {
            return None;
        }
        let damage = read(&self.damage);
        let found = damage
            .iter()
            .find(|found| found.from < to && from < found.to.max(found.from.saturating_add(1)));
        found.cloned()
    }

    /// Whether anything that was acknowledged is damaged, and who reads is to be told.
    pub(super) fn is_damaged(&self) -> bool {
        !self.passes_damage && !read(&self.damage).is_empty()
    }

    /// The log goes up to the end of this batch.
    pub(super) fn set_tip(&self, link: BatchLink) {
        *write(&self.tip) = Tip {
            next: link.last.saturating_add(1),
            link: Some(link),
        };
    }

    /// Shows a batch that is durable: its frame lies at `at` in `segment`.
    pub(super) fn show(
        &self,
        segment: &Segment,
        at: u32,
        end: u32,
        batch: &StagedBatch,
        places: &[u32],
    ) {
        segment.grow(|table| {
            table.add_batch(at, batch.link);
            for (record, place) in batch.records.iter().zip(places) {
                table.add_record(&record.stream, record.seq, *place, record.hash);
            }
            table.end = end;
        });
        let first = segment.header.first;
        let mut streams = write(&self.streams);
        let all = streams.get_or_insert_default();
        for (stream, head) in batch.heads.iter() {
            match all.get_mut(stream) {
                Some(extent) => (extent.head, extent.newest) = (*head, first),
                None => {
                    let extent = Extent {
                        head: *head,
                        oldest: first,
                        newest: first,
                    };
                    all.insert(stream.clone(), extent);
                }
            }
        }
        drop(streams);
        *write(&self.tip) = batch.tip;
    }

    /// Shows a range that is missing, and what comes after it.
    pub(super) fn show_gap(
        &self,
        segment: &Segment,
        end: u32,
        link: BatchLink,
        missing: &Missing,
        heads: &[StreamHead],
    ) {
        segment.grow(|table| {
            table.add_gap(link, missing.cause, heads);
            table.end = end;
        });
        let newest = segment.header.first;
        let mut streams = write(&self.streams);
        let all = streams.get_or_insert_default();
        for StreamHead {
            stream,
            next_seq,
            hash,
        } in heads
        {
            let head = StagedHead {
                next_seq: *next_seq,
                hash: *hash,
            };
            let extent = all.entry(stream.clone());
            let extent = extent.or_insert(Extent {
                head,
                oldest: newest,
                newest,
            });
            (extent.head, extent.newest) = (head, newest);
        }
        drop(streams);
        write(&self.missing).push(missing.clone());
        self.set_tip(link);
    }
}
