//! Recomputes both chains and names everything that does not fit.

use std::collections::HashSet;

use super::{
    Audit, Flaw, Head, Violation,
    fields::payloads,
    findings::Findings,
    indexes, kept,
    records::{Entry, Links, Records, violation},
    streams::Streams,
};
use crate::{
    journal::{BatchLink, Horizon, JournalError, Offset, Record, Stored},
    model::{EventKind, Hash, Payload},
};

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// How many records were read.
    pub records: u64,
    /// How many batches the journal's chain has.
    pub batches: u64,
    /// How many streams there are.
    pub streams: u64,
    /// How many payloads beside the journal its events name.
    pub blobs: u64,
    /// How many events there are in archives.
    pub archived: u64,
    /// The archives that are not at hand: what they hold was not read.
    pub unread: Vec<String>,
    /// The newest link; none of an empty journal.
    pub head: Option<BatchLink>,
    /// Everything that is wrong, by offset.
    pub violations: Vec<Violation>,
    /// Whether there is so much wrong that the audit stopped before the end.
    pub stopped: bool,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }
}

impl Audit<'_> {
    /// Proves that nothing was changed, removed, reordered or inserted relative to the newest
    /// link, and, against a head that was kept elsewhere, that nothing was cut off or put back.
    ///
    /// # Errors
    /// When the store cannot be read at all, or holds records of a newer format.
    pub async fn verify(&self, kept: Option<&Head>) -> Result<Report, JournalError> {
        let mut verifier = Verifier::new(self, kept).await?;
        verifier.below().await?;
        verifier.chain().await?;
        verifier.check_committed();
        verifier.streams.name_gaps(&mut verifier.findings);
        indexes::check(self.journal, &verifier.streams, &mut verifier.findings).await?;
        verifier.streams.name_batches(&mut verifier.findings);
        Ok(verifier.report())
    }
}

pub(super) struct Verifier<'a> {
    pub(super) audit: &'a Audit<'a>,
    records: Records<'a>,
    links: Links<'a>,
    pub(super) streams: Streams,
    pub(super) findings: Findings,
    /// Below which offset events were archived.
    pub(super) horizon: Option<Horizon>,
    /// What the newest event about that says.
    committed: Option<(Offset, Hash)>,
    /// The offset that comes next.
    next: Offset,
    /// What the next batch is to be linked to; none where that is gone.
    prev: Option<Hash>,
    /// What the last batch's link should have been, where that was changed.
    due: Option<Hash>,
    blobs: HashSet<Hash>,
    pub(super) kept: Option<&'a Head>,
    /// The link that ends where the kept head does.
    pub(super) met: Option<Hash>,
    pub(super) report: Report,
}

impl<'a> Verifier<'a> {
    async fn new(audit: &'a Audit<'a>, kept: Option<&'a Head>) -> Result<Self, JournalError> {
        let head = match audit.journal.head().await {
            Err(JournalError::Damaged { .. }) => None,
            other => other?,
        };
        let end = head.map_or(0, |head| head.last.saturating_add(1));
        let horizon = audit.journal.horizon().await?;
        let (next, prev) = match &horizon {
            Some(horizon) => (horizon.offset, horizon.link.hash),
            None => (0, Hash::default()),
        };
        Ok(Self {
            audit,
            records: Records::of(audit.journal, next),
            links: Links::of(audit.journal, next, end),
            horizon,
            committed: None,
            streams: Streams::default(),
            findings: Findings::default(),
            next,
            prev: Some(prev),
            due: None,
            blobs: HashSet::new(),
            kept,
            met: None,
            report: Report {
                head,
                ..Report::default()
            },
        })
    }

    fn report(mut self) -> Report {
        self.report.stopped = self.findings.is_full();
        self.report.streams = self.streams.heads.len() as u64;
        self.report.blobs = self.blobs.len() as u64;
        if let Some(kept) = self.kept.filter(|_| !self.report.stopped) {
            let unread = self
                .report
                .unread
                .first()
                .filter(|_| self.is_archived(kept));
            let found = kept::check(kept, self.audit.journal_id, self.met, self.next, unread);
            found.into_iter().for_each(|v| self.findings.add_beside(v));
        }
        self.report.violations = self.findings.into_list();
        self.report
    }

    fn is_archived(&self, kept: &Head) -> bool {
        let below = self.horizon.as_ref().map_or(0, |horizon| horizon.offset);
        kept.offset.is_some_and(|offset| offset < below)
    }

    /// The newest link covers the seals only through the event that says what they are.
    fn check_committed(&mut self) {
        let Some(horizon) = self.horizon.as_ref().filter(|_| !self.findings.is_full()) else {
            return;
        };
        if self.committed != Some((horizon.offset, horizon.sealed)) {
            let what = "what stands for the archived events is not what the journal says was \
                        sealed";
            self.findings.add_beside(Violation::of(Flaw::Changed, what));
        }
    }

    // ---- the journal's chain ----

    async fn chain(&mut self) -> Result<(), JournalError> {
        while let Some(link) = self.links.next().await? {
            if self.findings.is_full() {
                return Ok(());
            }
            self.batch(link).await?;
        }
        if let Some(damaged) = self.links.unsound.pop() {
            return self.unlinked_end(damaged).await;
        }
        self.uncovered().await
    }

    async fn batch(&mut self, link: BatchLink) -> Result<(), JournalError> {
        if link.first < self.next || link.last < link.first {
            let what = "a batch of the chain claims an offset that belongs to another";
            self.findings
                .add(Violation::of(Flaw::Reordered, what).at(link.first));
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
        self.prev = self.due.take().or(Some(link.hash));
        if self.kept.is_some_and(|kept| kept.offset == Some(link.last)) {
            self.met = Some(link.hash);
        }
        Ok(())
    }

    /// Records whose batch's link is gone.
    async fn unlinked(&mut self, until: Offset) -> Result<(), JournalError> {
        let (first, last) = (self.next, until.saturating_sub(1));
        let batch = self.take(last).await?;
        for record in &batch.records {
            self.streams.follow(record, false, &mut self.findings);
        }
        let batch = format!("the link of the batch of offsets {first} to {last}");
        let violation = match self.links.unsound.pop() {
            Some(damaged) => Violation::of(damaged.flaw, format!("{batch}: {}", damaged.what)),
            None => Violation::of(Flaw::Missing, format!("{batch} is missing")),
        };
        self.findings.add(violation.at(first));
        self.prev = None;
        Ok(())
    }

    /// Records after the last link that can be read, where a damaged one follows.
    async fn unlinked_end(&mut self, damaged: Violation) -> Result<(), JournalError> {
        let first = self.next;
        let what = format!("the newest link: {}", damaged.what);
        self.findings
            .add(Violation::of(damaged.flaw, what).at(first));
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

    /// Whether the records may be what the link was made of. Where the link itself is wrong,
    /// that is named, and the records are not suspected.
    async fn fits(&mut self, link: &BatchLink, records: &[Stored]) -> Result<bool, JournalError> {
        let prev = self.prev.unwrap_or(link.prev);
        let made = |prev| {
            let hashes = records.iter().map(|record| &record.hash);
            BatchLink::new(prev, link.first, link.last, hashes).hash
        };
        let (due, own) = (made(prev), made(link.prev));
        if own == link.hash && link.prev == prev {
            return Ok(true);
        }
        let next = self.links.peek().await?.map(|next| next.prev);
        let (flaw, what) = if own == link.hash {
            let what = "the batch that begins here is not linked to the one before it";
            (Flaw::Reordered, what)
        } else if due == link.hash || next == Some(due) {
            (
                Flaw::Changed,
                "the link of the batch that begins here was changed",
            )
        } else {
            return Ok(false);
        };
        self.due = Some(due).filter(|_| flaw == Flaw::Changed);
        let place = Violation::of(flaw, what).at(link.first);
        self.findings.add(match records.first() {
            Some(first) => place.in_stream(first.stream.clone(), first.seq),
            None => place,
        });
        Ok(true)
    }

    /// Records past the last batch of the chain.
    async fn uncovered(&mut self) -> Result<(), JournalError> {
        while !self.findings.is_full() {
            let batch = self.take(self.next).await?;
            if batch.ended {
                return Ok(());
            }
            for record in &batch.records {
                let what = "no batch of the chain covers it";
                self.findings.accuse(Flaw::Reordered, record, what);
                self.streams.follow(record, false, &mut self.findings);
            }
        }
        Ok(())
    }

    // ---- records ----

    /// The records up to an offset; what is not sound is named.
    async fn take(&mut self, last: Offset) -> Result<Taken, JournalError> {
        let mut taken = Taken {
            records: Vec::new(),
            whole: true,
            ended: false,
        };
        while self.next <= last && !self.findings.is_full() {
            match self.records.next().await? {
                Entry::Sound(record) => {
                    self.record(&record).await?;
                    taken.records.push(record);
                }
                Entry::Unsound(violation) => {
                    taken.whole = false;
                    self.findings.add(violation);
                }
                Entry::End => {
                    (taken.whole, taken.ended) = (false, true);
                    self.gone(last);
                    return Ok(taken);
                }
            }
            self.next = self.next.saturating_add(1);
        }
        Ok(taken)
    }

    /// The journal ends before a batch of its chain does.
    fn gone(&mut self, last: Offset) {
        if self.report.head.is_some_and(|head| head.last >= self.next) {
            let what = format!("the journal ends here; its chain goes on to offset {last}");
            self.findings
                .add(Violation::of(Flaw::Missing, what).at(self.next));
            self.next = last.saturating_add(1);
        }
    }

    async fn record(&mut self, stored: &Stored) -> Result<(), JournalError> {
        self.report.records = self.report.records.saturating_add(1);
        if stored.offset != self.next {
            let what = format!("it stands at offset {}", self.next);
            self.findings.accuse(Flaw::Reordered, stored, what);
        }
        match stored.record() {
            Ok(record) => {
                if let EventKind::Compacted {
                    horizon, sealed, ..
                } = record.event.kind
                {
                    self.committed = Some((horizon, sealed));
                }
                self.named_blobs(&record).await
            }
            Err(JournalError::Damaged { why, .. }) => {
                self.findings.accuse(Flaw::Changed, stored, why);
                Ok(())
            }
            Err(other) => Err(other),
        }
    }

    pub(super) async fn named_blobs(&mut self, record: &Record) -> Result<(), JournalError> {
        for payload in payloads(&record.event.kind) {
            let Payload::Blob { hash, len } = payload else {
                continue;
            };
            if !self.blobs.insert(*hash) {
                continue;
            }
            match self.audit.blobs.get_blob(*hash, *len).await {
                Ok(_) => {}
                Err(JournalError::Damaged { place, why }) => {
                    let found = violation("", &why);
                    let what = format!("the {place} that it names: {why}");
                    let found = Violation::of(found.flaw, what).at(record.offset);
                    self.findings
                        .add(found.in_stream(record.stream.clone(), record.seq));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}

/// The records of a range of offsets, as far as they are sound.
struct Taken {
    records: Vec<Stored>,
    /// Whether every record of the range is there.
    whole: bool,
    /// Whether the journal ended within the range.
    ended: bool,
}
