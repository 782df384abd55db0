//! Verifies a journal: recomputes both chains and reports everything that does not fit.

mod anchor_check;
mod bases;
mod batch_records;
mod chain;
mod findings;
mod indexes;
mod missing;
mod records;
mod streams;

pub use missing::RemovedRange;

use std::collections::{HashSet, VecDeque};

use self::{
    bases::Commitment,
    findings::VerifyFindings,
    records::{Links, RecordReader, violation},
    streams::Streams,
};
use super::{Audit, AuditAnchor, Bases, PublicKey, Violation};
use crate::{
    fold::Fold,
    journal::{BatchLink, JournalError, Missing, Offset},
    model::Hash,
};

/// The offset and the sequence of an event of the journal's own stream.
type RecordPosition = (Offset, u64);

/// What an audit found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// How many records were read.
    pub records: u64,
    /// How many batches the journal's chain has.
    pub batches: u64,
    /// How many streams the journal has.
    pub streams: u64,
    /// How many payloads beside the journal its events name.
    pub blobs: u64,
    /// How many bases exist that an event commits to.
    pub bases: u64,
    /// The ranges whose events were removed and that a base covers.
    pub removed: Vec<RemovedRange>,
    /// The newest link; `None` for an empty journal.
    pub head: Option<BatchLink>,
    /// Everything that is wrong, by offset.
    pub violations: Vec<Violation>,
    /// Whether there is so much wrong that the audit stopped before the end.
    pub stopped: bool,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.violations.is_empty()
    }
}

impl Audit<'_> {
    /// Proves that nothing was changed, removed, reordered or inserted relative to the newest link.
    /// With an audit anchor that was stored elsewhere it also proves that nothing was cut off or
    /// replaced by an older copy. Every missing range is reported each time; it is in order only if
    /// it was removed and a base covers it. With `key` the signatures of bases are checked, and a
    /// base that covers removed events must be signed.
    ///
    /// # Errors
    /// When the store cannot be read at all, or holds records of a newer format.
    pub async fn verify(
        &self,
        anchor: Option<&AuditAnchor>,
        key: Option<&PublicKey>,
    ) -> Result<VerifyReport, JournalError> {
        let mut verifier = Verifier::new(self, anchor, key).await?;
        verifier.chain().await?;
        verifier.streams.name_gaps(&mut verifier.findings);
        indexes::check(self.journal, &mut verifier.streams, &mut verifier.findings).await?;
        verifier.streams.name_batches(&mut verifier.findings);
        verifier.check_commitments();
        verifier.judge_missing();
        Ok(verifier.report())
    }
}

struct Verifier<'a> {
    audit: &'a Audit<'a>,
    records: RecordReader<'a>,
    links: Links<'a>,
    streams: Streams,
    findings: VerifyFindings,
    /// Every missing range, and those that were not reached yet.
    ranges: Vec<Missing>,
    missing: VecDeque<Missing>,
    /// Every base, and those that were not checked yet.
    present: Vec<(Offset, Hash)>,
    bases: VecDeque<(Offset, Hash)>,
    /// The states of the events so far; `None` if no base is to be compared with them, and after a
    /// missing range.
    fold: Option<Fold>,
    commitments: Vec<Commitment>,
    /// The events that report lost ranges.
    lost: Vec<((Offset, Offset), RecordPosition)>,
    /// The next offset to be read.
    next: Offset,
    /// The hash that the next batch must be linked to; `None` if the link before it is missing.
    prev: Option<Hash>,
    /// The link before the next offset; `None` if it is missing.
    newest: Option<BatchLink>,
    /// What the last batch's link should have been, if that link was changed.
    due: Option<Hash>,
    blobs: HashSet<Hash>,
    /// The audit anchor that was stored elsewhere.
    expected: Option<&'a AuditAnchor>,
    key: Option<&'a PublicKey>,
    /// The link of the batch that ends at the anchor's offset.
    met: Option<Hash>,
    report: VerifyReport,
}

impl<'a> Verifier<'a> {
    async fn new(
        audit: &'a Audit<'a>,
        expected: Option<&'a AuditAnchor>,
        key: Option<&'a PublicKey>,
    ) -> Result<Self, JournalError> {
        let head = match audit.journal.head().await {
            Err(error) if error.is_damage() => None,
            other => other?,
        };
        let end = head.map_or(0, |head| head.last.saturating_add(1));
        let ranges = audit.journal.missing().await?;
        let Bases {
            found: present,
            damaged,
        } = Bases::of(audit.journal).await?;
        let mut findings = VerifyFindings::default();
        if let Some(error) = damaged {
            findings.add_beside(violation(&error));
        }
        Ok(Self {
            audit,
            records: RecordReader::of(audit.journal, &ranges),
            links: Links::of(audit.journal, &ranges, end),
            streams: Streams::default(),
            findings,
            missing: ranges.iter().cloned().collect(),
            ranges,
            bases: present.iter().copied().collect(),
            fold: (!present.is_empty()).then(Fold::default),
            present,
            commitments: Vec::new(),
            lost: Vec::new(),
            next: 0,
            prev: Some(Hash::default()),
            newest: None,
            due: None,
            blobs: HashSet::new(),
            expected,
            key,
            met: None,
            report: VerifyReport {
                head,
                ..VerifyReport::default()
            },
        })
    }

    fn report(mut self) -> VerifyReport {
        self.report.stopped = self.findings.is_full();
        self.report.streams = self.streams.heads.len() as u64;
        self.report.blobs = self.blobs.len() as u64;
        if let Some(head) = self.expected.filter(|_| !self.report.stopped) {
            let id = self.audit.journal_id;
            let violations = anchor_check::check(head, id, self.met, self.next, &self.ranges);
            violations
                .into_iter()
                .for_each(|v| self.findings.add_beside(v));
        }
        self.report.violations = self.findings.into_list();
        self.report
    }
}
