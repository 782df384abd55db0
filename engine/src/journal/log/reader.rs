//! Reads a log: by offset, by stream or by batch. Blocks, and writes nothing.
//!
//! A page that would contain damaged records is an error, never a shorter page. To read the good
//! records before the damage, use a smaller limit. Records that are permanently missing are skipped.

use std::sync::Arc;

use super::{
    frame,
    segment::Segment,
    shared::{Extent, LogShared},
    table::{NOWHERE, SegmentTable},
};
use crate::{
    journal::{
        BatchLink, JournalError, Offset, RECORD_MAX, Record, RecordDamage, RecordPlace, Stored,
    },
    model::StreamId,
};

mod marks;
mod queries;
mod row;

pub(super) use marks::FrameMarks;
use row::BatchRow;

/// How many bytes are read at once when consecutive batches are read.
const CHUNK: usize = 256 << 10;
/// How many bytes are read at once when the records of one stream are read.
const NEAR: usize = 16 << 10;
/// The longest record with its length field, in bytes.
const RECORD: usize = RECORD_MAX + 4;

/// Reads the records, batches and bases of a log.
#[derive(Clone)]
pub(in crate::journal) struct SegmentReader(Arc<LogShared>);

/// Bytes of a segment that were read at once.
#[derive(Default)]
struct Window {
    at: u64,
    bytes: Vec<u8>,
}

impl Window {
    /// At least `len` bytes from `at` on, or as many as the segment has. A read gets at least `ahead`
    /// bytes.
    fn get(
        &mut self,
        segment: &Segment,
        at: u32,
        len: usize,
        ahead: usize,
    ) -> Result<&[u8], JournalError> {
        let start = u64::from(at);
        let within = start
            .checked_sub(self.at)
            .and_then(|skip| usize::try_from(skip).ok());
        let has = within
            .and_then(|skip| self.bytes.get(skip..))
            .map_or(0, <[u8]>::len);
        let skip = if has < len {
            self.bytes = segment.read(start, len.max(ahead))?;
            self.at = start;
            0
        } else {
            within.unwrap_or_default()
        };
        Ok(self.bytes.get(skip..).unwrap_or_default())
    }
}

impl SegmentReader {
    pub(in crate::journal) fn new(shared: Arc<LogShared>) -> Self {
        Self(shared)
    }

    /// The shared state of the log that it reads.
    pub(in crate::journal) fn shared(&self) -> &LogShared {
        &self.0
    }

    /// At most `limit` records from `from` on, byte for byte.
    pub(in crate::journal) fn read_stored(
        &self,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<Stored>, JournalError> {
        let (mut page, mut next) = (Vec::new(), from);
        while page.len() < limit {
            let Some(row) = self.row(next, limit.saturating_sub(page.len()))? else {
                self.pass(next, self.0.tip().next)?;
                break;
            };
            let mut window = Window::default();
            for batch in &row.batches {
                self.pass(next, batch.first)?;
                next = next.max(batch.first);
                row.records(&self.0.marks, batch, &mut window, next, limit, &mut page)?;
                next = batch.last.saturating_add(1);
            }
        }
        Ok(page)
    }

    /// At most `limit` links, from the first batch that begins at `from` or later.
    pub(in crate::journal) fn read_links(
        &self,
        from: Offset,
        limit: usize,
    ) -> Result<Vec<BatchLink>, JournalError> {
        let (mut links, mut next) = (Vec::new(), from);
        while links.len() < limit {
            let Some(row) = self.row(next, limit.saturating_sub(links.len()))? else {
                break;
            };
            let mut window = Window::default();
            for batch in &row.batches {
                next = batch.last.saturating_add(1);
                if batch.first >= from && links.len() < limit {
                    links.push(row.link(batch, &mut window)?);
                }
            }
        }
        Ok(links)
    }

    /// At most `limit` events of a stream from a sequence on.
    pub(in crate::journal) fn read(
        &self,
        stream: &StreamId,
        from_seq: u64,
        limit: usize,
    ) -> Result<Vec<Record>, JournalError> {
        let mut page = Vec::new();
        let Some(extent) = self.0.extent(stream)? else {
            return Ok(page);
        };
        for segment in self.holders(&extent) {
            let remaining = limit.saturating_sub(page.len());
            if remaining == 0 {
                break;
            }
            let (seq, places) = self.0.with_table(&segment, |table| {
                Ok(places(table, stream, from_seq, remaining))
            })?;
            let mut window = Window::default();
            for (at, record_seq) in places.into_iter().zip(seq..) {
                match at {
                    NOWHERE => self.lost(stream, record_seq)?,
                    at => {
                        page.push(record(&segment, &mut window, at, stream, record_seq)?.record()?)
                    }
                }
            }
        }
        Ok(page)
    }

    fn holders(&self, extent: &Extent) -> Vec<Arc<Segment>> {
        let mut segments = self.0.segments_from(extent.oldest);
        segments.retain(|segment| segment.header.first <= extent.newest);
        segments
    }

    /// The batches of one segment from `next` on that hold about `limit` events; none at the end.
    fn row(&self, next: Offset, limit: usize) -> Result<Option<BatchRow>, JournalError> {
        let until = next.saturating_add(limit as u64);
        for segment in self.0.segments_from(next) {
            let row = self.0.with_head(&segment, |table| {
                let batches = table
                    .batches
                    .get(table.batch_at(next)..)
                    .unwrap_or_default();
                let few = batches.partition_point(|batch| batch.first < until).max(1);
                Ok((batches.get(..few).unwrap_or(batches).to_vec(), table.end))
            });
            let (batches, end) = row?;
            if !batches.is_empty() {
                return Ok(Some(BatchRow {
                    segment,
                    batches,
                    end,
                }));
            }
        }
        Ok(None)
    }

    /// Skips offsets that no batch holds; an error if they are damaged and not repaired.
    fn pass(&self, from: Offset, to: Offset) -> Result<(), JournalError> {
        if from >= to {
            return Ok(());
        }
        self.0
            .damage_within(from, to)
            .map_or(Ok(()), |damage| Err(damage.error()))
    }

    /// An error for a missing record, if the log has unrepaired damage. Otherwise a repair has closed
    /// the gap, and the record is skipped.
    fn lost(&self, stream: &StreamId, seq: u64) -> Result<(), JournalError> {
        if !self.0.is_damaged() {
            return Ok(());
        }
        Err(RecordDamage::missing(sequence(stream, seq)))
    }
}

/// At most `limit` places of a stream's records from `from_seq` on, and the sequence of the first.
fn places(table: &SegmentTable, stream: &StreamId, from_seq: u64, limit: usize) -> (u64, Vec<u32>) {
    let Some(places) = table.streams.get(stream) else {
        return (from_seq, Vec::new());
    };
    let later = places.from(from_seq);
    let page = later.get(..limit.min(later.len())).unwrap_or(later);
    (from_seq.max(places.first_seq), page.to_vec())
}

/// Reads the record of a stream at a place, and checks that it is that record.
fn record(
    segment: &Segment,
    window: &mut Window,
    at: u32,
    stream: &StreamId,
    seq: u64,
) -> Result<Stored, JournalError> {
    let bytes = window.get(segment, at, RECORD, NEAR)?;
    let bytes = frame::record_at(bytes).unwrap_or_default().to_vec();
    let stored = Stored::parse(bytes).map_err(|e| placed(e, stream, seq))?;
    if stored.stream == *stream && stored.seq == seq {
        return Ok(stored);
    }
    Err(RecordDamage::displaced(
        sequence(stream, seq),
        stored.place(),
    ))
}

/// Names the record that was looked for in an error of damaged bytes.
fn placed(error: JournalError, stream: &StreamId, seq: u64) -> JournalError {
    match error {
        JournalError::DamagedRecord(mut damage) => {
            damage.place = sequence(stream, seq);
            JournalError::DamagedRecord(damage)
        }
        other => other,
    }
}

fn sequence(stream: &StreamId, seq: u64) -> RecordPlace {
    RecordPlace::Sequence {
        stream: stream.clone(),
        seq,
    }
}
