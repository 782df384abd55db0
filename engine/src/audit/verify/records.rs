//! Reads a journal's records and links and continues past damaged and missing ones.

use std::collections::VecDeque;

use super::super::{Flaw, Violation, batches::pop_if};
use crate::{
    journal::{BatchLink, ChainedJournal, JournalError, Missing, Offset, Stored},
    model::StreamId,
};

/// The most records or links that are read at the same time.
pub(super) const PAGE: usize = 1_000;

/// What was read at an offset.
pub(super) enum VerifyEntry {
    /// A record whose envelope is sound.
    Sound(Stored),
    /// A violation: the record cannot be trusted.
    Unsound(Violation),
    /// The journal ends before this offset.
    End,
}

/// Reads record by record.
pub(super) struct RecordReader<'a> {
    journal: &'a dyn ChainedJournal,
    missing: VecDeque<Missing>,
    ahead: VecDeque<VerifyEntry>,
    next: Offset,
}

impl<'a> RecordReader<'a> {
    pub(super) fn of(journal: &'a dyn ChainedJournal, missing: &[Missing]) -> Self {
        Self {
            journal,
            missing: missing.iter().cloned().collect(),
            ahead: VecDeque::new(),
            next: 0,
        }
    }

    /// The entry at the next offset that is not missing.
    pub(super) async fn next(&mut self) -> Result<VerifyEntry, JournalError> {
        self.has_more().await?;
        Ok(self.ahead.pop_front().unwrap_or(VerifyEntry::End))
    }

    /// Whether there is an entry at the next offset that is not missing.
    pub(super) async fn has_more(&mut self) -> Result<bool, JournalError> {
        if self.ahead.is_empty() {
            self.fill().await?;
        }
        Ok(!self.ahead.is_empty())
    }

    /// How many offsets can be read before the next missing range.
    fn limit(&mut self) -> usize {
        while let Some(range) = pop_if(&mut self.missing, |range| range.from <= self.next) {
            self.next = self.next.max(range.to);
        }
        let until = self.missing.front().map_or(Offset::MAX, |range| range.from);
        usize::try_from(until.saturating_sub(self.next)).map_or(PAGE, |room| room.min(PAGE))
    }

    async fn fill(&mut self) -> Result<(), JournalError> {
        let limit = self.limit();
        match self.journal.read_stored(self.next, limit).await {
            Ok(page) => {
                self.next = self.next.saturating_add(page.len() as u64);
                self.ahead.extend(page.into_iter().map(VerifyEntry::Sound));
                Ok(())
            }
            Err(JournalError::Damaged { .. }) => self.fill_one_by_one(limit).await,
            Err(other) => Err(other),
        }
    }

    /// Reads a page that contains damage, record by record.
    async fn fill_one_by_one(&mut self, limit: usize) -> Result<(), JournalError> {
        for _ in 0..limit {
            let entry = match self.journal.read_stored(self.next, 1).await {
                Ok(page) => match page.into_iter().next() {
                    Some(stored) => VerifyEntry::Sound(stored),
                    None => return Ok(()),
                },
                Err(JournalError::Damaged { place, why }) => {
                    VerifyEntry::Unsound(violation(&place, &why).at(self.next))
                }
                Err(other) => return Err(other),
            };
            self.next = self.next.saturating_add(1);
            self.ahead.push_back(entry);
        }
        Ok(())
    }
}

/// Reads link by link, with one link of look-ahead.
pub(super) struct Links<'a> {
    journal: &'a dyn ChainedJournal,
    missing: Vec<Missing>,
    ahead: VecDeque<BatchLink>,
    from: Offset,
    end: Offset,
    /// The links that could not be read so far.
    pub(super) unsound: Vec<Violation>,
}

impl<'a> Links<'a> {
    /// Reads the links of `journal`, whose end is `end`.
    pub(super) fn of(journal: &'a dyn ChainedJournal, missing: &[Missing], end: Offset) -> Self {
        let mut links = Self {
            journal,
            missing: missing.to_vec(),
            ahead: VecDeque::new(),
            from: 0,
            end,
            unsound: Vec::new(),
        };
        links.from = links.past_missing(0).unwrap_or(0);
        links
    }

    /// The offset at which links continue after a missing range that begins at `offset`.
    fn past_missing(&self, offset: Offset) -> Option<Offset> {
        let mut at = None;
        for range in &self.missing {
            if range.from == at.unwrap_or(offset) {
                at = Some(range.to);
            }
        }
        at
    }

    pub(super) async fn next(&mut self) -> Result<Option<BatchLink>, JournalError> {
        self.peek().await?;
        Ok(self.ahead.pop_front())
    }

    pub(super) async fn peek(&mut self) -> Result<Option<BatchLink>, JournalError> {
        while self.ahead.is_empty() {
            let page = match self.journal.read_links(self.from, PAGE).await {
                Ok(page) => page,
                Err(JournalError::Damaged { place, why }) => self.past(&place, &why).await?,
                Err(other) => return Err(other),
            };
            let Some(last) = page.iter().max_by_key(|link| link.first) else {
                return Ok(None);
            };
            let after = self.past_missing(last.last.saturating_add(1));
            let after = after.unwrap_or(last.first.saturating_add(1));
            self.from = self.from.saturating_add(1).max(after);
            self.ahead.extend(page);
        }
        Ok(self.ahead.front().copied())
    }

    /// The links up to a damaged one; skips it once it is the next.
    async fn past(&mut self, place: &str, why: &str) -> Result<Vec<BatchLink>, JournalError> {
        match self.journal.read_links(self.from, 1).await {
            Err(JournalError::Damaged { .. }) => {}
            other => return other,
        }
        self.unsound.push(violation(place, why));
        while self.from < self.end {
            let next = self.from.saturating_add(1);
            self.from = self.past_missing(next).unwrap_or(next);
            match self.journal.read_links(self.from, 1).await {
                Err(JournalError::Damaged { .. }) => {}
                other => return other,
            }
        }
        Ok(Vec::new())
    }
}

/// Converts a `Damaged` error of the journal to a violation, with stream and sequence if the error
/// names them.
pub(super) fn violation(place: &str, why: &str) -> Violation {
    let flaw = match why {
        "it is missing" => Flaw::Missing,
        why if why.starts_with("another record is in its place") => Flaw::Reordered,
        _ => Flaw::Changed,
    };
    match named(place) {
        Some((stream, seq, Some(offset))) => {
            Violation::of(flaw, why).in_stream(stream, seq).at(offset)
        }
        Some((stream, seq, None)) => {
            Violation::of(flaw, format!("its index entry: {why}")).in_stream(stream, seq)
        }
        None if place.starts_with("offset ") => Violation::of(flaw, why),
        None => Violation::of(flaw, format!("{place}: {why}")),
    }
}

/// Parses the stream, sequence and offset from a place in the journal's error.
fn named(place: &str) -> Option<(StreamId, u64, Option<Offset>)> {
    let place = place.strip_prefix("the index of ").unwrap_or(place);
    let (place, offset) = match place.rsplit_once(" (offset ") {
        Some((place, offset)) => (place, Some(offset.strip_suffix(')')?.parse().ok()?)),
        None => (place, None),
    };
    let (stream, seq) = place.rsplit_once(" #")?;
    Some((stream.parse().ok()?, seq.parse().ok()?, offset))
}
