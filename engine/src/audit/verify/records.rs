//! Reads a journal's records and links and continues past damaged and missing ones.

use std::collections::VecDeque;

use super::super::{Flaw, Violation, batches::pop_if};
use crate::journal::{
    BatchLink, ChainedJournal, DamageWords, JournalError, Missing, Offset, RecordDamageCause,
    RecordPlace, Stored,
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
            Err(error) if error.is_damage() => self.fill_one_by_one(limit).await,
            Err(error) => Err(error),
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
                Err(error) if error.is_damage() => {
                    VerifyEntry::Unsound(violation(&error).at(self.next))
                }
                Err(error) => return Err(error),
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
        let mut end = None;
        for range in &self.missing {
            if range.from == end.unwrap_or(offset) {
                end = Some(range.to);
            }
        }
        end
    }

    pub(super) async fn next(&mut self) -> Result<Option<BatchLink>, JournalError> {
        self.peek().await?;
        Ok(self.ahead.pop_front())
    }

    pub(super) async fn peek(&mut self) -> Result<Option<BatchLink>, JournalError> {
        while self.ahead.is_empty() {
            let page = match self.journal.read_links(self.from, PAGE).await {
                Ok(page) => page,
                Err(error) if error.is_damage() => self.past(&error).await?,
                Err(error) => return Err(error),
            };
            let Some(last) = page.iter().max_by_key(|link| link.first) else {
                return Ok(None);
            };
            let next = self
                .past_missing(last.last.saturating_add(1))
                .unwrap_or(last.first.saturating_add(1));
            self.from = self.from.saturating_add(1).max(next);
            self.ahead.extend(page);
        }
        Ok(self.ahead.front().copied())
    }

    /// The links up to a damaged one; skips it once it is the next.
    async fn past(&mut self, damage: &JournalError) -> Result<Vec<BatchLink>, JournalError> {
        match self.journal.read_links(self.from, 1).await {
            Err(error) if error.is_damage() => {}
            other => return other,
        }
        self.unsound.push(violation(damage));
        while self.from < self.end {
            let next = self.from.saturating_add(1);
            self.from = self.past_missing(next).unwrap_or(next);
            match self.journal.read_links(self.from, 1).await {
                Err(error) if error.is_damage() => {}
                other => return other,
            }
        }
        Ok(Vec::new())
    }
}

/// Converts damage that the journal reported to a violation, with stream and sequence if the journal
/// names them.
pub(super) fn violation(error: &JournalError) -> Violation {
    let flaw = flaw_of(error);
    let JournalError::DamagedRecord(damage) = error else {
        let message = error.damage().map_or_else(
            || error.to_string(),
            |DamageWords { place, why }| format!("{place}: {why}"),
        );
        return Violation::of(flaw, message);
    };
    let why = damage.cause.to_string();
    match damage.place.clone() {
        RecordPlace::Claimed {
            stream,
            seq,
            offset,
        } => Violation::of(flaw, why).in_stream(stream, seq).at(offset),
        RecordPlace::Sequence { stream, seq } => {
            Violation::of(flaw, format!("its index entry: {why}")).in_stream(stream, seq)
        }
        RecordPlace::Offset(_) => Violation::of(flaw, why),
        place @ RecordPlace::Unknown => Violation::of(flaw, format!("{place}: {why}")),
    }
}

/// The kind of violation that damage is.
pub(super) fn flaw_of(error: &JournalError) -> Flaw {
    match error {
        JournalError::MissingBlob(_) => Flaw::Missing,
        JournalError::DamagedRecord(damage) => match damage.cause {
            RecordDamageCause::Missing => Flaw::Missing,
            RecordDamageCause::Displaced(_) => Flaw::Reordered,
            RecordDamageCause::Altered(_) => Flaw::Changed,
        },
        _ => Flaw::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::RecordDamage;

    #[test]
    fn the_words_of_an_error_do_not_decide_what_its_violation_is() {
        let altered = RecordDamage::altered(RecordPlace::Offset(7), "it is missing");
        assert_eq!(violation(&altered).flaw, Flaw::Changed);
        let words = "another record is in its place";
        let also_altered = RecordDamage::altered(RecordPlace::Offset(7), words);
        assert_eq!(violation(&also_altered).flaw, Flaw::Changed);
        let missing = RecordDamage::missing(RecordPlace::Offset(7));
        assert_eq!(violation(&missing).flaw, Flaw::Missing);
        let other = RecordPlace::Offset(8);
        let displaced = RecordDamage::displaced(RecordPlace::Offset(7), other);
        assert_eq!(violation(&displaced).flaw, Flaw::Reordered);
    }

    #[test]
    fn a_file_whose_name_looks_like_a_record_is_no_record() {
        let file = JournalError::Damaged {
            place: "log/vsi/web #3 (offset 41)".to_owned(),
            why: "its checksum does not match".to_owned(),
        };
        let named = violation(&file);
        assert_eq!((named.stream, named.offset), (None, None));
    }
}
