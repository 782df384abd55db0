//! Follows the journal's chain, batch by batch.

use super::{
    super::{Flaw, Violation},
    Verifier,
};
use crate::journal::{BatchLink, JournalError, Offset, Stored};

impl Verifier<'_> {
    pub(super) async fn chain(&mut self) -> Result<(), JournalError> {
        let mut next = self.links.next().await?;
        while !self.findings.is_full() {
            next = match next {
                Some(link) => {
                    self.pass(link.first).await?;
                    self.batch(link).await?;
                    self.links.next().await?
                }
                None => {
                    self.pass_end().await?;
                    if let Some(damaged) = self.links.unsound.pop() {
                        return self.unlinked_end(damaged).await;
                    }
                    match self.uncovered().await? {
                        Some(link) => Some(link),
                        None => return Ok(()),
                    }
                }
            };
        }
        Ok(())
    }

    async fn batch(&mut self, link: BatchLink) -> Result<(), JournalError> {
        if link.first < self.next || link.last < link.first {
            let message = "a batch of the chain claims an offset that belongs to another";
            self.findings
                .add(Violation::of(Flaw::Reordered, message).at(link.first));
            return Ok(());
        }
        if link.first > self.next {
            self.unlinked(link.first).await?;
        }
        let batch = self.take(link.last).await?;
        let suspect = batch.whole && !self.fits(&link, &batch.records).await?;
        if suspect {
            self.streams.suspect(link.first, link.last, &batch.records);
        }
        for record in &batch.records {
            self.streams.follow(record, suspect, &mut self.findings);
        }
        self.report.batches = self.report.batches.saturating_add(1);
        self.meet(&link);
        self.prev = self.due.take().or(Some(link.hash));
        self.newest = Some(link);
        Ok(())
    }

    /// Notes the link at the expected anchor's offset: the anchor may end with this batch, or with
    /// the missing range before it.
    fn meet(&mut self, link: &BatchLink) {
        let Some(offset) = self.expected.and_then(|head| head.offset) else {
            return;
        };
        if offset == link.last {
            self.met = Some(link.hash);
        } else if self.prev.is_none() && offset.checked_add(1) == Some(link.first) {
            self.met = Some(link.prev);
        }
    }

    /// Checks records whose link is missing.
    pub(super) async fn unlinked(&mut self, until: Offset) -> Result<(), JournalError> {
        let (first, last) = (self.next, until.saturating_sub(1));
        let batch = self.take(last).await?;
        for record in &batch.records {
            self.streams.follow(record, false, &mut self.findings);
        }
        let subject = format!("the link of the batch of offsets {first} to {last}");
        let violation = match self.links.unsound.pop() {
            Some(damaged) => Violation::of(damaged.flaw, format!("{subject}: {}", damaged.what)),
            None => Violation::of(Flaw::Missing, format!("{subject} is missing")),
        };
        self.findings.add(violation.at(first));
        (self.prev, self.newest) = (None, None);
        Ok(())
    }

    /// Checks the records after the last readable link, if a damaged link follows.
    async fn unlinked_end(&mut self, damaged: Violation) -> Result<(), JournalError> {
        let first = self.next;
        let message = format!("the newest link: {}", damaged.what);
        self.findings
            .add(Violation::of(damaged.flaw, message).at(first));
        while !self.findings.is_full() {
            let batch = self.take(self.next).await?;
            if batch.ended {
                break;
            }
            for record in &batch.records {
                self.streams.follow(record, false, &mut self.findings);
            }
        }
        Ok(())
    }

    /// Whether the records match the link. If the link itself is wrong, that is reported, and the
    /// records are not suspected.
    async fn fits(&mut self, link: &BatchLink, records: &[Stored]) -> Result<bool, JournalError> {
        let prev = self.prev.unwrap_or(link.prev);
        let hash_after = |prev_hash| {
            let hashes = records.iter().map(|record| &record.hash);
            BatchLink::new(prev_hash, link.first, link.last, hashes).hash
        };
        let (due, claimed) = (hash_after(prev), hash_after(link.prev));
        if claimed == link.hash && link.prev == prev {
            return Ok(true);
        }
        let next = self
            .links
            .peek()
            .await?
            .filter(|next| next.first == link.last.saturating_add(1))
            .map(|next| next.prev);
        let (flaw, problem) = if claimed == link.hash {
            (
                Flaw::Reordered,
                "the batch that begins here is not linked to the one before it",
            )
        } else if due == link.hash || next == Some(due) {
            (
                Flaw::Changed,
                "the link of the batch that begins here was changed",
            )
        } else {
            return Ok(false);
        };
        self.due = Some(due).filter(|_| flaw == Flaw::Changed);
        let place = Violation::of(flaw, problem).at(link.first);
        self.findings.add(match records.first() {
            Some(first) => place.in_stream(first.stream.clone(), first.seq),
            None => place,
        });
        Ok(true)
    }

    /// Reports records after the last batch of the chain. A batch appended since the last link was
    /// read is not such a case: returns its link.
    async fn uncovered(&mut self) -> Result<Option<BatchLink>, JournalError> {
        while !self.findings.is_full() {
            if !self.records.has_more().await? {
                self.report_end(self.next);
                break;
            }
            // Records and links are appended together, so the link is read again after a record was
            // seen.
            if let Some(link) = self.links.next().await? {
                return Ok(Some(link));
            }
            let batch = self.take(self.next).await?;
            for record in &batch.records {
                let message = "no batch of the chain covers it";
                self.findings.accuse(Flaw::Reordered, record, message);
                self.streams.follow(record, false, &mut self.findings);
            }
        }
        Ok(None)
    }
}
