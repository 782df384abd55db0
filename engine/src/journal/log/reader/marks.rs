//! Marks where readers stopped within long frames.
//!
//! One batch may have tens of thousands of events, and its frame many megabytes. A page then ends in
//! the middle of the frame. The next page continues from the mark that was left there, instead of
//! reading the frame from its beginning. A mark is only a hint: if none matches, the frame is read
//! from its first record.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::journal::{Offset, log::table::BatchPlace};

/// How many marks are stored: one for each of so many concurrent readers.
const MARKS_MAX: usize = 16;

/// A record within a frame.
#[derive(Clone, Copy)]
struct FrameMark {
    /// The first offset of its segment.
    segment: Offset,
    /// The place of its frame in the segment's file.
    frame: u32,
    position: NextRecord,
}

/// The record to read next. Its places count from the beginning of its segment.
#[derive(Clone, Copy)]
pub(super) struct NextRecord {
    /// Its offset.
    pub(super) offset: Offset,
    /// Where its length field begins.
    pub(super) at: u32,
    /// Where its frame ends.
    pub(super) end: u32,
}

/// The newest marks of all readers of a log.
#[derive(Default)]
pub(in crate::journal::log) struct FrameMarks(Mutex<VecDeque<FrameMark>>);

impl FrameMarks {
    /// The latest marked record of a batch that is at `next` or before it.
    pub(super) fn before(
        &self,
        segment: Offset,
        batch: &BatchPlace,
        next: Offset,
    ) -> Option<NextRecord> {
        let marks = self.lock();
        let fits = |mark: &&FrameMark| {
            mark.segment == segment && mark.frame == batch.at && mark.position.offset <= next
        };
        let fitting = marks.iter().filter(fits).map(|mark| mark.position);
        fitting.max_by_key(|position| position.offset)
    }

    /// Leaves a mark at a record of a batch.
    pub(super) fn leave(&self, segment: Offset, batch: &BatchPlace, position: NextRecord) {
        let mut marks = self.lock();
        marks.push_front(FrameMark {
            segment,
            frame: batch.at,
            position,
        });
        marks.truncate(MARKS_MAX);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<FrameMark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
