//! Reads and checks the records of a batch and the blobs that they name.

use super::{
    super::{Flaw, Violation, payloads},
    Verifier,
    bases::Commitment,
    records::{VerifyEntry, flaw_of},
};
use crate::{
    journal::{DamageWords, JournalError, Offset, Record, Stored},
    model::{EventKind, Payload, StreamId},
};

/// The sound records of a range of offsets.
pub(super) struct RecordRange {
    pub(super) records: Vec<Stored>,
    /// Whether every record of the range was read.
    pub(super) whole: bool,
    /// Whether the journal ended within the range.
    pub(super) ended: bool,
}

impl Verifier<'_> {
    /// Reads the records up to the offset `last`; reports those that are not sound.
    pub(super) async fn take(&mut self, last: Offset) -> Result<RecordRange, JournalError> {
        let mut range = RecordRange {
            records: Vec::new(),
            whole: true,
            ended: false,
        };
        while self.next <= last && !self.findings.is_full() {
            match self.records.next().await? {
                VerifyEntry::Sound(record) => {
                    self.record(&record).await?;
                    if let Some(fold) = &mut self.fold {
                        fold.take(&record)?;
                    }
                    range.records.push(record);
                }
                VerifyEntry::Unsound(violation) => {
                    range.whole = false;
                    self.findings.add(violation);
                }
                VerifyEntry::End => {
                    (range.whole, range.ended) = (false, true);
                    self.report_end(last);
                    return Ok(range);
                }
            }
            self.next = self.next.saturating_add(1);
        }
        Ok(range)
    }

    /// Reports that the journal ends before a batch of its chain does.
    pub(super) fn report_end(&mut self, last: Offset) {
        if self.report.head.is_some_and(|head| head.last >= self.next) {
            let message = format!("the journal ends here; its chain continues to offset {last}");
            self.findings
                .add(Violation::of(Flaw::Missing, message).at(self.next));
            self.next = last.saturating_add(1);
        }
    }

    async fn record(&mut self, stored: &Stored) -> Result<(), JournalError> {
        self.report.records = self.report.records.saturating_add(1);
        if stored.offset != self.next {
            let message = format!("it is at offset {}", self.next);
            self.findings.accuse(Flaw::Reordered, stored, message);
        }
        match stored.record() {
            Ok(record) => {
                self.note(&record);
                for payload in payloads(&record.event.kind) {
                    let stream = record.stream.clone();
                    self.named_blob(payload, stream, record.seq, record.offset)
                        .await?;
                }
                Ok(())
            }
            Err(JournalError::DamagedRecord(damage)) => {
                self.findings
                    .accuse(Flaw::Changed, stored, damage.cause.to_string());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Notes events of the journal's own stream.
    fn note(&mut self, record: &Record) {
        let (offset, seq) = (record.offset, record.seq);
        match &record.event.kind {
            _ if record.stream != StreamId::Journal => {}
            EventKind::BaseWritten {
                as_of,
                hash,
                signature,
            } => self.commitments.push(Commitment {
                as_of: *as_of,
                hash: *hash,
                signature: signature.clone(),
                place: (offset, seq),
            }),
            EventKind::RangeLost { from, to } => self.lost.push(((*from, *to), (offset, seq))),
            _ => {}
        }
    }

    /// Checks a payload stored beside the journal against the hash that names it.
    pub(super) async fn named_blob(
        &mut self,
        payload: &Payload,
        stream: StreamId,
        seq: u64,
        offset: Offset,
    ) -> Result<(), JournalError> {
        let Payload::Blob { hash, len } = payload else {
            return Ok(());
        };
        if !self.blobs.insert(*hash) {
            return Ok(());
        }
        let Err(error) = self.audit.blobs.get_blob(*hash, *len).await else {
            return Ok(());
        };
        let Some(DamageWords { place, why }) = error.damage() else {
            return Err(error);
        };
        let message = format!("the {place} that it names: {why}");
        let violation = Violation::of(flaw_of(&error), message).at(offset);
        self.findings.add(violation.in_stream(stream, seq));
        Ok(())
    }
}
