//! Collects violations without duplicates.

use std::collections::{BTreeMap, HashSet};

use super::super::{Flaw, Violation};
use crate::{
    journal::{Offset, Stored},
    model::StreamId,
};

/// The most violations that are reported; the audit stops there.
pub(super) const MAX: usize = 1_000;

/// Collects violations: at most one per offset, and at most one per position in a stream.
#[derive(Default)]
pub(super) struct VerifyFindings {
    by_offset: BTreeMap<Offset, Violation>,
    others: Vec<Violation>,
    named: HashSet<(StreamId, u64)>,
}

impl VerifyFindings {
    /// Whether there are so many violations that the audit stops.
    pub(super) fn is_full(&self) -> bool {
        self.by_offset.len().saturating_add(self.others.len()) >= MAX
    }

    /// Adds a violation, unless its record already has one. If that one has no stream, it receives
    /// the stream and sequence of the new one.
    pub(super) fn add(&mut self, violation: Violation) {
        let name = violation.stream.clone().zip(violation.seq);
        match violation.offset {
            Some(offset) => match self.by_offset.get_mut(&offset) {
                Some(known) if known.stream.is_none() => {
                    (known.stream, known.seq) = (violation.stream, violation.seq);
                }
                Some(_) => {}
                None => {
                    self.by_offset.insert(offset, violation);
                }
            },
            None if name.as_ref().is_some_and(|name| self.named.contains(name)) => {}
            None => self.others.push(violation),
        }
        self.named.extend(name);
    }

    /// Adds a violation in addition to others at the same offset.
    pub(super) fn add_beside(&mut self, violation: Violation) {
        self.others.push(violation);
    }

    pub(super) fn accuse(&mut self, flaw: Flaw, record: &Stored, what: impl Into<String>) {
        self.add(Violation::of_record(flaw, record, what));
    }

    /// Whether a violation was added for an offset in the range.
    pub(super) fn is_accused(&self, first: Offset, last: Offset) -> bool {
        first <= last && self.by_offset.range(first..=last).next().is_some()
    }

    /// Whether a violation was added for that position of a stream.
    pub(super) fn is_named(&self, stream: &StreamId, seq: u64) -> bool {
        self.named.contains(&(stream.clone(), seq))
    }

    /// The offset in the range whose violation has no stream, if there is exactly one.
    pub(super) fn nameless(&self, first: Offset, last: Offset) -> Option<Offset> {
        if first > last {
            return None;
        }
        let range = self.by_offset.range(first..=last);
        let mut nameless = range.filter(|(_, violation)| violation.stream.is_none());
        let (offset, _) = nameless.next()?;
        nameless.next().is_none().then_some(*offset)
    }

    /// All violations, by offset; those without an offset come last.
    pub(super) fn into_list(self) -> Vec<Violation> {
        let mut list: Vec<_> = self.by_offset.into_values().chain(self.others).collect();
        list.truncate(MAX);
        list
    }
}
