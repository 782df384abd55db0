//! Reads a journal batch by batch and stops at the first batch that is not sound.

use std::collections::VecDeque;

use super::{AuditError, Flaw, Violation};
use crate::{
    journal::{BatchLink, ChainedJournal, Missing, Offset, Stored},
    model::Hash,
};

/// The most records or links that are read at the same time.
const PAGE: usize = 1_000;

/// A part of a journal.
pub(crate) enum BatchPiece {
    /// A durable batch.
    Batch(BatchLink, Vec<Stored>),
    /// A range of offsets that is missing. The chain continues with the `prev` of the link after
    /// it.
    Missing(Missing),
}

/// Reads a journal in its durable batches and checks each against the chain; the first batch that
/// does not fit is an error. Ranges that the journal reports as missing are passed over.
pub(crate) struct Batches<'a> {
    journal: &'a dyn ChainedJournal,
    missing: VecDeque<Missing>,
    links: VecDeque<BatchLink>,
    records: VecDeque<Stored>,
    next: Offset,
    /// The hash that the next link has to continue; `None` if the previous link is missing.
    prev: Option<Hash>,
}

impl<'a> Batches<'a> {
    /// From the beginning of the journal.
    pub(crate) async fn of(journal: &'a dyn ChainedJournal) -> Result<Self, AuditError> {
        Self::from(journal, 0, Some(Hash::default())).await
    }

    /// From the batch that begins at `next` and is linked to `prev`, if that is known.
    pub(crate) async fn from(
        journal: &'a dyn ChainedJournal,
        next: Offset,
        prev: Option<Hash>,
    ) -> Result<Self, AuditError> {
        let mut missing = journal.missing().await?;
        missing.retain(|missing| missing.to > next);
        Ok(Self {
            journal,
            missing: missing.into(),
            links: VecDeque::new(),
            records: VecDeque::new(),
            next,
            prev,
        })
    }

    /// The next batch or missing range; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<BatchPiece>, AuditError> {
        if let Some(missing) = pop_if(&mut self.missing, |missing| missing.from <= self.next) {
            (self.next, self.prev) = (missing.to.max(self.next), None);
            return Ok(Some(BatchPiece::Missing(missing)));
        }
        let Some(link) = self.covering_link().await? else {
            return Ok(None);
        };
        let follows = self.prev.is_none_or(|prev| link.prev == prev);
        if link.first != self.next || link.last < link.first || !follows {
            let message = "the batch that begins here does not follow the one before it";
            return Err(Violation::of(Flaw::Changed, message).at(link.first).into());
        }
        let records = self.records_of(&link).await?;
        let hashes = records.iter().map(|record| &record.hash);
        if BatchLink::new(link.prev, link.first, link.last, hashes) != link {
            let (first, last) = (link.first, link.last);
            let message = format!("the batch of offsets {first} to {last} was changed");
            return Err(Violation::of(Flaw::Changed, message).at(first).into());
        }
        self.prev = Some(link.hash);
        Ok(Some(BatchPiece::Batch(link, records)))
    }

    /// The next link; `None` if no record follows. Records and links are appended together, so the
    /// link is looked for again after a record was seen.
    async fn covering_link(&mut self) -> Result<Option<BatchLink>, AuditError> {
        if let Some(link) = self.link().await? {
            return Ok(Some(link));
        }
        self.fill().await?;
        let Some(record) = self.records.front().cloned() else {
            return Ok(None);
        };
        match self.link().await? {
            None => Err(uncovered(&record)),
            link => Ok(link),
        }
    }

    async fn link(&mut self) -> Result<Option<BatchLink>, AuditError> {
        if self.links.is_empty() {
            let page = match self.journal.read_links(self.next, PAGE).await {
                // A page may reach into a range that is damaged.
                Err(error) if error.is_damage() && !self.missing.is_empty() => {
                    self.journal.read_links(self.next, 1).await
                }
                page => page,
            };
            self.links = page?.into();
        }
        Ok(self.links.pop_front())
    }

    async fn records_of(&mut self, link: &BatchLink) -> Result<Vec<Stored>, AuditError> {
        let mut records = Vec::new();
        while self.next <= link.last {
            let violation = Violation::of(Flaw::Missing, "it is missing").at(self.next);
            let record = self.record().await?.ok_or(violation)?;
            self.next = record.offset.saturating_add(1);
            records.push(record);
        }
        Ok(records)
    }

    async fn record(&mut self) -> Result<Option<Stored>, AuditError> {
        self.fill().await?;
        Ok(self.records.pop_front())
    }

    async fn fill(&mut self) -> Result<(), AuditError> {
        if self.records.is_empty() {
            let until = self.missing.front().map_or(Offset::MAX, |next| next.from);
            let room = until.saturating_sub(self.next);
            let limit = usize::try_from(room).unwrap_or(PAGE).min(PAGE);
            self.records = self.journal.read_stored(self.next, limit).await?.into();
        }
        Ok(())
    }
}

fn uncovered(record: &Stored) -> AuditError {
    Violation::of_record(Flaw::Reordered, record, "no batch of the chain covers it").into()
}

/// Takes the first item of a queue if it matches.
pub(super) fn pop_if<T>(queue: &mut VecDeque<T>, matches: impl FnOnce(&T) -> bool) -> Option<T> {
    if queue.front().is_some_and(matches) {
        queue.pop_front()
    } else {
        None
    }
}
