//! Checks ranges of offsets that cannot be read; the chains continue after them.

use super::{
    super::{Flaw, Violation, batches::pop_if},
    Verifier,
};
use crate::{
    journal::{JournalError, Missing, MissingCause, Offset},
    model::StreamId,
};

/// A missing range that is in order because a base covers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemovedRange {
    /// The range.
    pub range: Missing,
    /// The offset that the base is as of.
    pub base: Offset,
}

impl Verifier<'_> {
    /// Skips the missing ranges before a batch and checks the bases there.
    pub(super) async fn pass(&mut self, first: Offset) -> Result<(), JournalError> {
        self.check_bases().await?;
        while let Some(range) = pop_if(&mut self.missing, |range| range.from < first) {
            if range.from > self.next {
                self.unlinked(range.from).await?;
            }
            self.next = self.next.max(range.to);
            (self.prev, self.newest, self.fold) = (None, None, None);
            self.due = None;
            self.streams.pass_missing();
            self.check_bases().await?;
        }
        Ok(())
    }

    /// The same after the last batch.
    pub(super) async fn pass_end(&mut self) -> Result<(), JournalError> {
        self.pass(Offset::MAX).await?;
        if !self.findings.is_full() {
            self.unreached_bases();
        }
        Ok(())
    }

    pub(super) fn is_missing(&self, offset: Offset) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|range| range.from < offset && offset < range.to)
    }

    /// Decides for every missing range whether it is in order, and checks the events that report
    /// lost ranges against the missing ranges.
    pub(super) fn judge_missing(&mut self) {
        for range in self.ranges.clone() {
            let violation = match range.cause {
                MissingCause::Removed => self.judge_removed(&range),
                MissingCause::Lost => Some(self.judge_lost(&range)),
                MissingCause::Damaged => Some(Violation::of(
                    Flaw::Damaged,
                    format!("{range}: the log is damaged there and cannot be read"),
                )),
            };
            if let Some(violation) = violation {
                self.findings.add_beside(violation.at(range.from));
            }
        }
        self.judge_events();
    }

    fn judge_removed(&mut self, range: &Missing) -> Option<Violation> {
        if let Some(base) = self.covering(range.to) {
            let removed = RemovedRange {
                range: range.clone(),
                base,
            };
            self.report.removed.push(removed);
            return None;
        }
        let reason = match self.key {
            None => "no base that the journal commits to replaces them",
            Some(_) => "no base that is signed with the key replaces them",
        };
        let message = format!("{range}: the events were removed, and {reason}");
        Some(Violation::of(Flaw::Uncovered, message))
    }

    fn judge_lost(&self, range: &Missing) -> Violation {
        let is_recorded = |lost: &((Offset, Offset), _)| lost.0 == (range.from, range.to);
        // The event that reports it may be in a range that was removed later.
        let later = |other: &Missing| other.from >= range.to;
        let untold = !self.lost.iter().any(is_recorded) && !self.ranges.iter().any(later);
        let rest = if untold {
            ", and no event tells of it"
        } else {
            ""
        };
        let message =
            format!("{range}: the events were lost, and a repair went on after them{rest}");
        Violation::of(Flaw::Lost, message)
    }

    fn judge_events(&mut self) {
        for ((from, to), (offset, seq)) in std::mem::take(&mut self.lost) {
            let mut next = from;
            for range in &self.ranges {
                if range.from <= next && next < range.to {
                    next = range.to;
                }
            }
            if next < to || from >= to {
                let message = format!(
                    "it says that the events before offset {to} from {from} on were lost, but some exist"
                );
                let violation = Violation::of(Flaw::Changed, message).at(offset);
                self.findings
                    .add_beside(violation.in_stream(StreamId::Journal, seq));
            }
        }
    }
}
