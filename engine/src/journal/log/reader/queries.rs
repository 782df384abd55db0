//! Queries about a log: its heads, its missing ranges, its bases and its age.

use std::sync::Arc;

use super::{SegmentReader, Window};
use crate::journal::{
    BatchLink, JournalError, Missing, MissingCause, Offset, States, Stored, StreamHead,
    log::{
        base,
        segment::Segment,
        shared::{Damage, read},
        table::BatchPlace,
    },
};
use crate::model::Timestamp;

impl SegmentReader {
    /// The head of every stream, sorted by ID.
    pub(in crate::journal) fn streams(&self) -> Result<Vec<StreamHead>, JournalError> {
        let heads = self
            .0
            .streams()?
            .into_iter()
            .map(|(stream, head)| StreamHead {
                stream,
                next_seq: head.next_seq,
                hash: head.hash,
            });
        let mut heads: Vec<_> = heads.collect();
        heads.sort_by(|one, other| one.stream.cmp(&other.stream));
        Ok(heads)
    }

    /// The newest link of the journal's chain.
    pub(in crate::journal) fn head(&self) -> Option<BatchLink> {
        self.0.link()
    }

    /// The link of the batch that ends right before an offset; `None` if no batch ends there, and
    /// `Some(None)` at offset 0.
    pub(in crate::journal) fn link_before(&self, offset: Offset) -> Option<Option<BatchLink>> {
        let Some(last) = offset.checked_sub(1) else {
            return Some(None);
        };
        if let Some(newest) = self.0.link().filter(|link| link.last == last) {
            return Some(Some(newest));
        }
        let row = self.row(last, 1).ok()??;
        let batch = row.batches.first().filter(|batch| batch.last == last)?;
        Some(Some(row.link(batch, &mut Window::default()).ok()?))
    }

    /// All ranges that can no longer be read, in order.
    pub(in crate::journal) fn missing(&self) -> Vec<Missing> {
        let mut missing = read(&self.0.missing).clone();
        missing.extend(read(&self.0.damage).iter().map(|damage| Missing {
            from: damage.from,
            to: damage.to,
            cause: MissingCause::Damaged,
        }));
        missing.sort_by_key(|missing| missing.from);
        missing
    }

    /// The damage that is not repaired, in order.
    pub(in crate::journal) fn damage(&self) -> Vec<Damage> {
        read(&self.0.damage).clone()
    }

    /// The newest base as of `at` or earlier; without one, the empty states of offset 0.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if there is no such base and the first segments were removed.
    pub(in crate::journal) fn base(&self, at: Offset) -> Result<States, JournalError> {
        if let Some(states) = base::nearest(&self.0, at) {
            return Ok(states);
        }
        let removed = self.missing().into_iter().find(|missing| missing.from == 0);
        match removed {
            Some(removed) if removed.cause == MissingCause::Removed => Err(JournalError::Damaged {
                place: format!("offsets 0 to {}", removed.to.saturating_sub(1)),
                why: "their segments are gone, and no base covers them".to_owned(),
            }),
            _ => Ok(States::default()),
        }
    }

    /// Whether the log since the newest base is longer than that base, and than `least` bytes.
    pub(in crate::journal) fn outgrew_base(&self, least: u64) -> bool {
        let (since, size) = self.0.since_base();
        since > size.max(least)
    }

    /// The full segments in the log up to the last whose newest event is older than `before`, the
    /// oldest first. So segments are archived in order, and those before an old one are old, too: a
    /// later time of theirs was recorded while the clock was ahead.
    pub(in crate::journal) fn older_than(
        &self,
        before: Timestamp,
    ) -> Result<Vec<Arc<Segment>>, JournalError> {
        let mut segments = self.0.full_segments();
        let mut old = 0_usize;
        for (index, segment) in segments.iter().enumerate() {
            let is_next = index == old;
            let is_old = match self.newest_time(segment) {
                Ok(Some(newest)) => newest < before,
                Ok(None) => is_next,
                Err(error) if is_next => return Err(error),
                Err(_) => break,
            };
            if is_old {
                old = index.saturating_add(1);
            }
        }
        segments.truncate(old);
        Ok(segments)
    }

    /// Whether the newest segment has events and the newest of them is older than `before`.
    pub(in crate::journal) fn newest_is_older_than(
        &self,
        before: Timestamp,
    ) -> Result<bool, JournalError> {
        match self.0.segments().last() {
            Some(newest) if self.events_of(newest) > 0 => {
                let time = self.newest_time(newest)?;
                Ok(time.is_none_or(|time| time < before))
            }
            _ => Ok(false),
        }
    }

    /// How many events the newest segment has.
    pub(in crate::journal) fn newest_events(&self) -> u64 {
        self.0
            .segments()
            .last()
            .map_or(0, |newest| self.events_of(newest))
    }

    /// When the newest event of a segment was recorded; `None` if the segment has none that can be read.
    fn newest_time(&self, segment: &Segment) -> Result<Option<Timestamp>, JournalError> {
        let last = self.0.with_head(segment, |table| {
            Ok(table.batches.last().map(|batch| batch.last))
        })?;
        let Some(last) = last else { return Ok(None) };
        let newest = self.read_stored(last, 1)?;
        let time = |stored: &Stored| {
            stored
                .record()
                .map_or(Timestamp(u64::MAX), |record| record.event.at)
        };
        Ok(newest.first().map(time))
    }

    /// How many events a segment has; 0 if its table cannot be read.
    pub(in crate::journal) fn events_of(&self, segment: &Segment) -> u64 {
        let count = self.0.with_head(segment, |table| {
            let count =
                |batch: &BatchPlace| batch.last.saturating_sub(batch.first).saturating_add(1);
            Ok(table.batches.iter().map(count).sum())
        });
        count.unwrap_or_default()
    }
}
