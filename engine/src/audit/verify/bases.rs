//! Checks bases against the event that commits to them, against the streams and, if every event
//! below a base can be read, against the state of those events.

use super::{
    super::{Flaw, Violation, batches::pop_if, check_base, payloads_of},
    Verifier,
    records::violation,
};
use crate::{
    fold::Fold,
    journal::{JournalError, Offset, States},
    model::{Hash, StreamId, Text},
};

/// An event of the journal that commits to a base.
pub(super) struct Commitment {
    pub(super) as_of: Offset,
    pub(super) hash: Hash,
    pub(super) signature: Text,
    /// The offset and the sequence of the event.
    pub(super) place: (Offset, u64),
}

impl Verifier<'_> {
    /// Checks the bases as of the next offset.
    pub(super) async fn check_bases(&mut self) -> Result<(), JournalError> {
        while let Some((as_of, _)) = pop_if(&mut self.bases, |(as_of, _)| *as_of <= self.next) {
            if as_of == self.next {
                self.verify_base(as_of).await?;
            } else if !self.is_missing(as_of) {
                self.misplaced(as_of);
            }
        }
        Ok(())
    }

    /// Reports the bases as of offsets that the journal has not reached.
    pub(super) fn unreached_bases(&mut self) {
        for (as_of, _) in std::mem::take(&mut self.bases) {
            self.misplaced(as_of);
        }
    }

    fn misplaced(&mut self, as_of: Offset) {
        let message = format!("there is a base as of offset {as_of}, where no batch ends");
        self.findings
            .add_beside(Violation::of(Flaw::Reordered, message).at(as_of));
    }

    async fn verify_base(&mut self, as_of: Offset) -> Result<(), JournalError> {
        let states = match self.audit.journal.states(Some(as_of)).await {
            Err(error) if error.is_damage() => {
                self.findings.add_beside(violation(&error));
                return Ok(());
            }
            states => states?,
        };
        self.check_link(&states);
        self.streams.check(&states, &mut self.findings);
        self.check_fold(&states);
        for state in &states.streams {
            for payload in payloads_of(state) {
                self.named_blob(payload, state.stream(), 0, as_of).await?;
            }
        }
        Ok(())
    }

    /// Checks that the base is as of the newest link; after a missing range the chain continues
    /// from it.
    fn check_link(&mut self, states: &States) {
        let ends = |last: Offset| last.checked_add(1) == Some(states.as_of);
        let fits = match (self.newest, states.link) {
            (Some(newest), Some(link)) => newest == link,
            (None, Some(link)) if ends(link.last) && self.prev.is_none() => {
                self.prev = Some(link.hash);
                true
            }
            _ => false,
        };
        if !fits {
            let as_of = states.as_of;
            let message =
                format!("the base as of offset {as_of} does not stand at the chain's link");
            self.findings
                .add_beside(Violation::of(Flaw::Changed, message).at(as_of));
        }
    }

    /// Checks that the states of the events equal those of the base; after a missing range the fold
    /// continues from it.
    fn check_fold(&mut self, states: &States) {
        let Some(fold) = &self.fold else {
            self.fold = Some(Fold::of(states));
            return;
        };
        for (stream, difference) in fold.differences(states) {
            let message = format!(
                "the base as of offset {} differs from the states of its events: {difference}",
                states.as_of
            );
            let seq = self
                .streams
                .heads
                .get(&stream)
                .map_or(0, |head| head.next_seq);
            let violation = Violation::of(Flaw::Changed, message);
            self.findings
                .add_beside(violation.in_stream(stream, seq.saturating_sub(1)));
        }
    }

    /// Checks every existing base against the events that commit to bases, and counts the bases
    /// that an event commits to.
    pub(super) fn check_commitments(&mut self) {
        for (as_of, hash) in self.present.clone() {
            let mut commitments = self
                .commitments
                .iter()
                .filter(|commitment| commitment.as_of == as_of);
            let Some(first) = commitments.clone().next() else {
                // The process died before it wrote the event, so nothing uses this base.
                continue;
            };
            self.report.bases = self.report.bases.saturating_add(1);
            match commitments.find(|commitment| commitment.hash == hash) {
                None => {
                    let message = format!("the base as of offset {as_of} is not the one it names");
                    let violation = named(Flaw::Changed, message, first);
                    self.findings.add_beside(violation);
                }
                Some(commitment) if !commitment.signature.as_str().is_empty() => {
                    if let Err(violation) = self.signature(commitment) {
                        self.findings.add_beside(violation);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn signature(&self, commitment: &Commitment) -> Result<(), Violation> {
        let Some(key) = self.key else { return Ok(()) };
        let id = self.audit.journal_id;
        check_base(
            id,
            commitment.as_of,
            commitment.hash,
            &commitment.signature,
            key,
        )
        .map_err(|violation| named(violation.flaw, violation.what, commitment))
    }

    /// The offset of a base that covers everything before `to`. The base exists, an event commits
    /// to it and, if a key was given, it is signed with that key.
    pub(super) fn covering(&self, to: Offset) -> Option<Offset> {
        let later = self.present.iter().filter(|(as_of, _)| *as_of >= to);
        let mut sound = later.filter(|(as_of, hash)| {
            self.commitments.iter().any(|commitment| {
                (commitment.as_of, commitment.hash) == (*as_of, *hash)
                    && self.signature(commitment).is_ok()
            })
        });
        sound.next().map(|(as_of, _)| *as_of)
    }
}

fn named(flaw: Flaw, message: String, commitment: &Commitment) -> Violation {
    let (offset, seq) = commitment.place;
    let violation = Violation::of(flaw, message).at(offset);
    violation.in_stream(StreamId::Journal, seq)
}
