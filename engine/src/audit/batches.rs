//! A journal, batch by batch, as long as nothing is wrong with it.

use std::collections::VecDeque;

use super::{AuditError, Flaw, Violation};
use crate::{
    journal::{BatchLink, ChainedJournal, Offset, Stored},
    model::Hash,
};

/// What is read at once.
const PAGE: usize = 1_000;

/// Reads a journal in its durable batches, from the horizon on, and holds each against the chain;
/// the first batch that does not fit is an error.
pub(crate) struct Batches<'a> {
    journal: &'a dyn ChainedJournal,
    links: VecDeque<BatchLink>,
    records: VecDeque<Stored>,
    next: Offset,
    prev: Hash,
}

impl<'a> Batches<'a> {
    pub(crate) async fn of(journal: &'a dyn ChainedJournal) -> Result<Self, AuditError> {
        let horizon = journal.horizon().await?;
        Ok(Self {
            journal,
            links: VecDeque::new(),
            records: VecDeque::new(),
            next: horizon.as_ref().map_or(0, |horizon| horizon.offset),
            prev: horizon.map_or_else(Hash::default, |horizon| horizon.link.hash),
        })
    }

    /// The next batch; none after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<(BatchLink, Vec<Stored>)>, AuditError> {
        let Some(link) = self.link().await? else {
            return match self.record().await? {
                None => Ok(None),
                Some(record) => Err(uncovered(&record)),
            };
        };
        if link.first != self.next || link.last < link.first || link.prev != self.prev {
            let what = "the batch that begins here does not follow the one before it";
            return Err(Violation::of(Flaw::Changed, what).at(link.first).into());
        }
        let records = self.records_of(&link).await?;
        let hashes = records.iter().map(|record| &record.hash);
        if BatchLink::new(link.prev, link.first, link.last, hashes) != link {
            let (first, last) = (link.first, link.last);
            let what = format!("the batch of offsets {first} to {last} is not what was written");
            return Err(Violation::of(Flaw::Changed, what).at(first).into());
        }
        self.prev = link.hash;
        Ok(Some((link, records)))
    }

    async fn link(&mut self) -> Result<Option<BatchLink>, AuditError> {
        if self.links.is_empty() {
            self.links = self.journal.read_links(self.next, PAGE).await?.into();
        }
        Ok(self.links.pop_front())
    }

    async fn records_of(&mut self, link: &BatchLink) -> Result<Vec<Stored>, AuditError> {
        let mut records = Vec::new();
        while self.next <= link.last {
            let gone = Violation::of(Flaw::Missing, "it is missing").at(self.next);
            let record = self.record().await?.ok_or(gone)?;
            self.next = record.offset.saturating_add(1);
            records.push(record);
        }
        Ok(records)
    }

    async fn record(&mut self) -> Result<Option<Stored>, AuditError> {
        if self.records.is_empty() {
            self.records = self.journal.read_stored(self.next, PAGE).await?.into();
        }
        Ok(self.records.pop_front())
    }
}

fn uncovered(record: &Stored) -> AuditError {
    Violation::of_record(Flaw::Reordered, record, "no batch of the chain covers it").into()
}
