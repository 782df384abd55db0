//! The state that the writer and the readers of a log share: its segments, the heads of its streams,
//! and its end. It contains only durable data.

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
        BatchLink, JournalError, Missing, Offset, RecordDamage, RecordPlace, StreamHead,
        stage::{StagedBatch, StagedHead, Tip},
    },
    model::StreamId,
};

/// The head of a stream, and the segments that contain it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    pub(super) head: StagedHead,
    /// The first offsets of the oldest and the newest segment with records of it.
    pub(super) oldest: Offset,
    pub(super) newest: Offset,
}

type Extents = HashMap<StreamId, Extent>;

/// Updates the heads of streams from a segment's table; called in the order of the segments.
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

/// A part of a base and its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct PartPlace {
    pub(super) part: FramePart,
    /// The first offset of its segment.
    pub(super) segment: Offset,
    pub(super) at: u32,
}

/// Acknowledged events that are missing or damaged, and not repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The offset of the first of them.
    pub from: Offset,
    /// The offset after the last of them.
    pub to: Offset,
    /// The name of the file, with folder.
    pub file: String,
    /// What is wrong with the file.
    pub why: String,
}

impl Damage {
    /// The error for a reader that needs these events.
    pub(in crate::journal) fn error(&self) -> JournalError {
        let why = format!("{}: {}", self.file, self.why);
        if self.to.saturating_sub(self.from) <= 1 {
            return RecordDamage::altered(RecordPlace::Offset(self.from), why);
        }
        let place = format!("offsets {} to {}", self.from, self.to.saturating_sub(1));
        JournalError::Damaged { place, why }
    }
}

/// The shared state of an open log.
pub(in crate::journal) struct LogShared {
    pub(super) disk: Arc<dyn LogDisk>,
    /// The journal's identity.
    pub(super) journal: String,
    segments: RwLock<Vec<Arc<Segment>>>,
    /// None until the first use, in a log that was opened for reading.
    streams: RwLock<Option<Extents>>,
    tip: RwLock<Tip>,
    pub(super) bases: RwLock<Vec<PartPlace>>,
    /// The ranges that can no longer be read, except for damage.
    pub(super) missing: RwLock<Vec<Missing>>,
    pub(super) damage: RwLock<Vec<Damage>>,
    /// Whether readers skip damage; all damage is known then ([`super::OpenMode::Inspect`]).
    pub(super) passes_damage: bool,
    /// Where readers stopped within long frames.
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

    /// For a log that is only read: the streams are read from the tables at their first use.
    pub(super) fn read_streams_later(&mut self) {
        self.streams = RwLock::default();
    }

    /// The segments, the oldest first.
    pub(super) fn segments(&self) -> Vec<Arc<Segment>> {
        read(&self.segments).clone()
    }

    /// The segments from the one that contains an offset on.
    pub(super) fn segments_from(&self, offset: Offset) -> Vec<Arc<Segment>> {
        let segments = read(&self.segments);
        let next = segments.partition_point(|segment| segment.header.first <= offset);
        segments
            .get(next.saturating_sub(1)..)
            .unwrap_or_default()
            .to_vec()
    }

    /// The segment that begins with an offset.
    pub(super) fn segment(&self, first: Offset) -> Option<Arc<Segment>> {
        let segments = read(&self.segments);
        let index = segments.binary_search_by_key(&first, |segment| segment.header.first);
        segments.get(index.ok()?).cloned()
    }

    pub(super) fn push_segment(&self, segment: Arc<Segment>) {
        write(&self.segments).push(segment);
    }

    /// Replaces a segment by another form of it, such as its archived one.
    pub(super) fn replace_segment(&self, segment: Arc<Segment>) {
        let mut segments = write(&self.segments);
        let first = segment.header.first;
        if let Ok(index) = segments.binary_search_by_key(&first, |candidate| candidate.header.first)
            && let Some(slot) = segments.get_mut(index)
        {
            *slot = segment;
        }
    }

    /// Looks at a segment's table. It is read from the disk, or made again from the segment, if needed.
    pub(super) fn with_table<T>(
        &self,
        segment: &Segment,
        look: impl FnOnce(&SegmentTable) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        segment.with_table(|| self.load_table(segment), look)
    }

    /// Like `with_table`, but the table may lack its streams.
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
        let later = self.segments_from(segment.header.first.saturating_add(1));
        let next = (later.iter()).find(|later| later.header.first > segment.header.first);
        Ok(segment.scan(next.map(|next| &next.header))?.table)
    }

    /// The head of a stream; that of an empty one if it is unknown.
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

    /// How many bytes the log has since the newest base began, and the most bytes that base can have.
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
        let last = read(&self.segments).last().cloned();
        let end = last.and_then(|segment| {
            let end = self.with_table(&segment, |table| Ok(table.end)).ok()?;
            position(segment.header.first, end)
        });
        (end.unwrap_or_default().saturating_sub(begun), size)
    }

    /// Adds the content of a segment's table; called in the order of the segments.
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

    /// The first damage between two offsets, the second excluded; none if readers skip damage.
    pub(super) fn damage_within(&self, from: Offset, to: Offset) -> Option<Damage> {
        if self.passes_damage {
            return None;
        }
        let damage = read(&self.damage);
        damage
            .iter()
            .find(|range| range.from < to && from < range.to.max(range.from.saturating_add(1)))
            .cloned()
    }

    /// Whether there is damage that readers do not skip.
    pub(super) fn is_damaged(&self) -> bool {
        !self.passes_damage && !read(&self.damage).is_empty()
    }

    /// Sets the end of the log to the end of a batch.
    pub(super) fn set_tip(&self, link: BatchLink) {
        *write(&self.tip) = Tip {
            next: link.last.saturating_add(1),
            link: Some(link),
        };
    }

    /// Makes a durable batch visible to readers. Its frame is in `segment`, from `at` to `end`.
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
        let extents = streams.get_or_insert_default();
        for (stream, head) in batch.heads.iter() {
            match extents.get_mut(stream) {
                Some(extent) => (extent.head, extent.newest) = (*head, first),
                None => {
                    let extent = Extent {
                        head: *head,
                        oldest: first,
                        newest: first,
                    };
                    extents.insert(stream.clone(), extent);
                }
            }
        }
        drop(streams);
        *write(&self.tip) = batch.tip;
    }

    /// Makes a missing range visible to readers, and the heads of streams after it.
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
        let extents = streams.get_or_insert_default();
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
            let extent = extents.entry(stream.clone()).or_insert(Extent {
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
