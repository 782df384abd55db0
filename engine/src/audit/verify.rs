//! Recomputes both chains and names everything that does not fit.

use std::collections::HashSet;

use super::{
    Audit, Flaw, Head, Violation,
    findings::Findings,
    indexes, kept,
    records::{Links, Records},
    streams::Streams,
};
use crate::{
    journal::{BatchLink, Horizon, JournalError, Offset},
    model::Hash,
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
    pub(super) records: Records<'a>,
    pub(super) links: Links<'a>,
    pub(super) streams: Streams,
    pub(super) findings: Findings,
    /// Below which offset events were archived.
    pub(super) horizon: Option<Horizon>,
    /// What the newest event about that says.
    pub(super) committed: Option<(Offset, Hash)>,
    /// The offset that comes next.
    pub(super) next: Offset,
    /// What the next batch is to be linked to; none where that is gone.
    pub(super) prev: Option<Hash>,
    /// What the last batch's link should have been, where that was changed.
    pub(super) due: Option<Hash>,
    pub(super) blobs: HashSet<Hash>,
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
}
