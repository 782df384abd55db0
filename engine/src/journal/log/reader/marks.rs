//! Where readers stopped within long frames.
//!
//! One batch may be of tens of thousands of events, and its frame of many megabytes. A page of it
//! ends in its middle; the page after it continues from the mark that was left there, instead of
//! reading the frame from its beginning for each page. A mark is a hint: where none fits, the frame
//! is walked from its first record.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use crate::journal::{Offset, log::table::BatchPlace};

/// Marks that are kept: one for each of so many readers at once.
const KEPT: usize = 16;

/// A record within a frame.
#[derive(Clone, Copy)]
struct FrameMark {
    /// The first offset of its segment.
    segment: Offset,
    /// The place of its frame.
    frame: u32,
    position: NextRecord,
}

/// A record that is read next, in places from the beginning of its segment.
#[derive(Clone, Copy)]
pub(super) struct NextRecord {
    /// Its offset.
    pub(super) offset: Offset,
    /// Where its length is.
    pub(super) at: u32,
    /// Where its frame ends.
    pub(super) end: u32,
}

/// See the module's text.
#[derive(Default)]
pub(in crate::journal::log) struct FrameMarks(Mutex<VecDeque<FrameMark>>);

impl FrameMarks {
    /// The last record known of a batch that is not behind `next`.
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

    /// Remembers a record of a batch.
    pub(super) fn leave(&self, segment: Offset, batch: &BatchPlace, position: NextRecord) {
        let mut marks = self.lock();
        marks.push_front(FrameMark {
            segment,
            frame: batch.at,
            position,
        });
        marks.truncate(KEPT);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<FrameMark>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
