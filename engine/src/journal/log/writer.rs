//! The writer of the log, which runs on one thread: writes each group with one frame and one sync.

use std::{io, sync::Arc};

use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};

use super::{
    FIRST_SIZE, FOLDER, SIZE,
    disk::DiskFile,
    error::{ended, storage},
    frame::{self, FramePart, FramePosition},
    header::{self, SegmentHeader},
    keeper::{Keeper, NEXT, Spare},
    scan::position_of,
    segment::{Segment, name_of},
    shared::{LogShared, PartPlace, write},
    stage::{AloneWrite, LogAnswer, LogGroup, LogStage, LogWriteReply},
    table::SegmentTable,
};
use crate::{
    group_commit::Commit,
    journal::{
        BatchLink, JournalError, Missing, Stored, StreamHead,
        stage::{AppendStage, StagedBatch},
    },
    model::Hash,
    permit::WritePermit,
};

/// The place of the next frame.
pub(super) struct WriterEnd {
    pub(super) segment: Arc<Segment>,
    pub(super) file: Arc<dyn DiskFile>,
    /// The place in the file.
    pub(super) at: usize,
}

/// The writer of the log. Only the writer appends to segments.
pub(in crate::journal) struct LogWriter {
    shared: Arc<LogShared>,
    end: WriterEnd,
    keeper: Keeper,
    permit: WritePermit,
    buffer: Vec<u8>,
    /// Whether no later frame or mark states the newest frame as synced.
    unmarked: bool,
}

impl LogWriter {
    pub(super) fn new(
        shared: Arc<LogShared>,
        end: WriterEnd,
        permit: WritePermit,
    ) -> io::Result<Self> {
        let keeper = Keeper::start(shared.disk.clone(), permit.clone())?;
        Ok(Self {
            shared,
            end,
            keeper,
            permit,
            buffer: Vec::new(),
            unmarked: false,
        })
    }

    /// Requests that the table of a full segment is written to the disk.
    pub(super) fn save_table(&self, segment: Arc<Segment>) {
        self.keeper.full(segment);
    }

    fn restore(&mut self, request: Vec<Stored>) -> Result<LogAnswer, JournalError> {
        let mut stage = AppendStage::new(&self.shared.tip());
        if let Err(e) = stage.admit_stored(request, |stream| self.shared.head(stream)) {
            return Ok(Err(e));
        }
        let batch = stage.seal();
        let link = batch.as_ref().map(|batch| batch.link);
        self.write(batch.as_ref())?;
        Ok(Ok(LogWriteReply::Restored(link)))
    }

    fn write(&mut self, batch: Option<&StagedBatch>) -> Result<(), JournalError> {
        let Some(batch) = batch else { return Ok(()) };
        let lengths = batch.records.iter().map(|record| record.bytes.len());
        self.make_room(frame::batch_len(lengths))?;
        let records = batch.records.iter().map(|record| record.bytes.as_slice());
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        frame::encode_batch(
            &mut buffer,
            self.place(),
            self.position(),
            &batch.link,
            records,
        );
        let frame_start = self.put(&buffer)?;
        let places = places(frame_start, batch);
        let end = u32::try_from(self.end.at).unwrap_or(u32::MAX);
        self.shared
            .show(&self.end.segment, frame_start, end, batch, &places);
        self.buffer = buffer;
        self.prepare_next_segment();
        Ok(())
    }

    /// Writes a request that is alone in its group.
    fn write_alone(&mut self, request: AloneWrite) -> Result<LogAnswer, JournalError> {
        match request {
            AloneWrite::Restore(stored) => self.restore(stored),
            AloneWrite::Gap {
                missing,
                link,
                heads,
            } => self.skip(&missing, link, &heads),
            AloneWrite::Roll => {
                if self.shared.tip().next > self.end.segment.header.first {
                    // A small segment is ready sooner; larger ones are made when they are needed.
                    self.roll(0, FIRST_SIZE)?;
                }
                Ok(Ok(LogWriteReply::Done))
            }
            AloneWrite::Base { part, bytes, total } => {
                let written = self.write_part(part, &bytes, total)?;
                Ok(Ok(LogWriteReply::Part(written)))
            }
        }
    }

    /// Writes a gap, so that the log continues after a missing range.
    fn skip(
        &mut self,
        missing: &Missing,
        hash: Hash,
        heads: &[StreamHead],
    ) -> Result<LogAnswer, JournalError> {
        let tip = self.shared.tip();
        let mut back = false;
        for head in heads {
            back |= head.next_seq < self.shared.head(&head.stream)?.next_seq;
        }
        if missing.from != tip.next || missing.to <= missing.from || back {
            return Ok(Err(JournalError::Damaged {
                place: missing.to_string(),
                why: format!("they do not follow offset {}", tip.next),
            }));
        }
        let link = BatchLink {
            first: missing.from,
            last: missing.to.saturating_sub(1),
            prev: tip.link.map(|link| link.hash).unwrap_or_default(),
            hash,
        };
        let mut frame = Vec::new();
        let encode = |gap: &mut Vec<u8>, writer: &Self| {
            gap.clear();
            frame::encode_gap(
                gap,
                writer.place(),
                writer.position(),
                &link,
                missing.cause,
                heads,
            );
        };
        encode(&mut frame, self);
        self.make_room(frame.len())?;
        encode(&mut frame, self);
        self.put(&frame)?;
        let end = u32::try_from(self.end.at).unwrap_or(u32::MAX);
        self.shared
            .show_gap(&self.end.segment, end, link, missing, heads);
        Ok(Ok(LogWriteReply::Done))
    }

    /// Writes a part of a base; false if there is no room for it. A segment without events cannot be
    /// followed by another one, because segments are named by the offset of their first event.
    fn write_part(
        &mut self,
        part: FramePart,
        bytes: &[u8],
        total: usize,
    ) -> Result<bool, JournalError> {
        let size = match part.number {
            0 => total.saturating_add(
                frame::part_len(0).saturating_mul(part.of.try_into().unwrap_or(usize::MAX)),
            ),
            _ => 0,
        };
        let len = frame::part_len(bytes.len());
        if self.left() < size.max(len) {
            if self.shared.tip().next == self.end.segment.header.first {
                return Ok(false);
            }
            self.roll(size.max(len), SIZE)?;
        }
        let mut frame = Vec::with_capacity(len);
        frame::encode_part(&mut frame, self.place(), self.position(), part, bytes);
        let frame_start = self.put(&frame)?;
        let end = u32::try_from(self.end.at).unwrap_or(u32::MAX);
        self.end.segment.grow(|table: &mut SegmentTable| {
            table.bases.push((part, frame_start));
            table.end = end;
        });
        let segment = self.end.segment.header.first;
        write(&self.shared.bases).push(PartPlace {
            part,
            segment,
            at: frame_start,
        });
        self.prepare_next_segment();
        Ok(true)
    }

    /// Writes a frame; durable when it returns. Returns its place in the file.
    fn put(&mut self, frame: &[u8]) -> Result<u32, JournalError> {
        // Checks the lease as close to the write as possible.
        self.permit.to_append()?;
        let (at, name) = (self.end.at, self.end.segment.name.clone());
        // If this write fails, no mark may state it as synced.
        self.unmarked = false;
        let written = self.end.file.write_at(frame, at as u64);
        written.map_err(|e| ended("written", &name, &e))?;
        self.end
            .file
            .sync_data()
            .map_err(|e| ended("synced", &name, &e))?;
        self.end.at = at.saturating_add(frame.len());
        self.unmarked = true;
        Ok(u32::try_from(at).unwrap_or(u32::MAX))
    }

    /// The position in the log up to which it is synced.
    fn position(&self) -> u64 {
        position_of(&self.end.segment.header, self.end.at)
    }

    fn place(&self) -> FramePosition<'_> {
        FramePosition {
            salt: &self.end.segment.header.salt,
            position: self.position(),
        }
    }

    fn size(&self) -> usize {
        usize::try_from(self.end.segment.size()).unwrap_or(usize::MAX)
    }

    fn left(&self) -> usize {
        self.size().saturating_sub(self.end.at)
    }

    fn make_room(&mut self, len: usize) -> Result<(), JournalError> {
        if len <= self.left() {
            return Ok(());
        }
        if self.shared.tip().next == self.end.segment.header.first {
            return self.widen(len);
        }
        self.roll(len, SIZE)
    }

    /// Makes room for `len` bytes in a segment without events. A new segment would have the same
    /// name, and would replace this one and the bases in it.
    fn widen(&mut self, len: usize) -> Result<(), JournalError> {
        let segment = &self.end.segment;
        let size = self.end.at.saturating_add(len) as u64;
        let widened = self.keeper.widen(&*self.end.file, segment.size(), size);
        widened.map_err(|e| ended("widened", &segment.name, &e))?;
        segment.widen(size);
        Ok(())
    }

    /// Requests the next segment once this one is half full. If the disk has no room for it, running
    /// work can still be written to this one.
    fn prepare_next_segment(&self) {
        if self.end.at > self.size() / 2 {
            self.keeper.prepare(SIZE);
        }
    }

    /// Starts the next segment, with room for `len` bytes and a file of at least `least` bytes.
    fn roll(&mut self, len: usize, least: u64) -> Result<(), JournalError> {
        let size = (len.saturating_add(header::LEN) as u64).max(least);
        let spare = self.keeper.take(size)?;
        let tip = self.shared.tip();
        let header = SegmentHeader {
            salt: salt(),
            first: tip.next,
            position: self.position(),
            before: tip.link,
            journal: self.shared.journal.clone(),
            repaired: false,
        };
        let full_segment = self.end.segment.clone();
        self.end = begin(&self.shared, header, spare)?;
        self.shared.push_segment(self.end.segment.clone());
        self.keeper.full(full_segment);
        Ok(())
    }
}

/// Turns the spare file into a segment; durable when it returns.
pub(super) fn begin(
    shared: &LogShared,
    header: SegmentHeader,
    spare: Spare,
) -> Result<WriterEnd, JournalError> {
    let name = name_of(FOLDER, header.first);
    let publish = || {
        spare.file.write_at(&header.encode(), 0)?;
        spare.file.sync_data()?;
        shared.disk.rename(NEXT, &name)?;
        shared.disk.sync_folder(FOLDER)?;
        shared.disk.sync_folder("")
    };
    publish().map_err(|e| storage(&name, &e))?;
    let table = SegmentTable {
        end: u32::try_from(header::LEN).unwrap_or(u32::MAX),
        ..SegmentTable::default()
    };
    let segment = Segment::growing(header, name, spare.size, spare.file.clone(), table);
    Ok(WriterEnd {
        segment: Arc::new(segment),
        file: spare.file,
        at: header::LEN,
    })
}

/// A random salt for a segment. Users who write records must not know it; see [`header`].
pub(super) fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    StdRng::from_os_rng().fill_bytes(&mut salt);
    salt
}

/// The place of each record in the file, where its length field begins.
fn places(at: u32, batch: &StagedBatch) -> Vec<u32> {
    let mut next = at.saturating_add(
        u32::try_from(frame::HEADER.saturating_add(frame::LINK)).unwrap_or(u32::MAX),
    );
    let places = batch.records.iter().map(|record| {
        let place = next;
        let len = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
        next = next.saturating_add(len).saturating_add(4);
        place
    });
    places.collect()
}

/// Writes a mark, which states everything before it as synced. So later damage there differs from a
/// torn end. Without a mark, as after a kill, this is true of all groups except the newest.
impl Drop for LogWriter {
    fn drop(&mut self) {
        let mut frame = Vec::new();
        frame::encode_mark(&mut frame, self.place(), self.position());
        if self.unmarked && frame.len() <= self.left() {
            // The mark is optional, so a failure is ignored.
            let _ = self.put(&frame);
        }
    }
}

impl Commit for LogWriter {
    type Stage = LogStage;
    type Reply = LogWriteReply;

    fn commit(&mut self, group: LogGroup) -> Result<Vec<LogAnswer>, JournalError> {
        self.write(group.batch.as_ref())?;
        let mut answers = group.answers;
        if let Some(request) = group.alone {
            answers.push(self.write_alone(request)?);
        }
        Ok(answers)
    }
}
