//! Bases: what they say is held against the event that commits to them, against the streams and,
//! where every event below them can be read, against what those come to.

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
    /// The event's offset and sequence.
    pub(super) place: (Offset, u64),
}

impl Verifier<'_> {
    /// Holds the bases as of the offset that comes next.
    pub(super) async fn hold_bases(&mut self) -> Result<(), JournalError> {
        while let Some((as_of, _)) = pop_if(&mut self.bases, |(as_of, _)| *as_of <= self.next) {
            if as_of == self.next {
                self.hold_base(as_of).await?;
            } else if !self.is_missing(as_of) {
                self.misplaced(as_of);
            }
        }
        Ok(())
    }

    /// Names the bases as of offsets that the journal has not reached.
    pub(super) fn unreached_bases(&mut self) {
        for (as_of, _) in std::mem::take(&mut self.bases) {
            self.misplaced(as_of);
        }
    }

    fn misplaced(&mut self, as_of: Offset) {
        let what = format!("there is a base as of offset {as_of}, where no batch ends");
        self.findings
            .add_beside(Violation::of(Flaw::Reordered, what).at(as_of));
    }

    async fn hold_base(&mut self, as_of: Offset) -> Result<(), JournalError> {
        let states = match self.audit.journal.states(Some(as_of)).await {
            Err(JournalError::Damaged { place, why }) => {
                self.findings.add_beside(violation(&place, &why));
                return Ok(());
            }
            states => states?,
        };
        self.hold_link(&states);
        self.streams.hold(&states, &mut self.findings);
        self.hold_fold(&states);
        for state in &states.streams {
            for payload in payloads_of(state) {
                self.named_blob(payload, (state.stream(), 0), as_of).await?;
            }
        }
        Ok(())
    }

    /// The base stands at the newest link; after a missing range the chain continues from it.
    fn hold_link(&mut self, states: &States) {
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
            let what = format!("the base as of offset {as_of} does not stand at the chain's link");
            self.findings
                .add_beside(Violation::of(Flaw::Changed, what).at(as_of));
        }
    }

    /// What the events come to is what the base says; after a missing range they continue from it.
    fn hold_fold(&mut self, states: &States) {
        let Some(fold) = &self.fold else {
            self.fold = Some(Fold::of(states));
            return;
        };
        for (stream, what) in fold.differences(states) {
            let what = format!(
                "the base as of offset {} differs from the states of its events: {what}",
                states.as_of
            );
            let seq = self
                .streams
                .heads
                .get(&stream)
                .map_or(0, |head| head.next_seq);
            let found = Violation::of(Flaw::Changed, what);
            self.findings
                .add_beside(found.in_stream(stream, seq.saturating_sub(1)));
        }
    }

    /// Holds every base that is there against the events that commit to bases, and counts those
    /// that one commits to.
    pub(super) fn check_commitments(&mut self) {
        for (as_of, hash) in self.present.clone() {
            let mut all = self.commitments.iter().filter(|made| made.as_of == as_of);
            let Some(first) = all.clone().next() else {
                // Its process died before the event; the base is believed by nobody.
                continue;
            };
            self.report.bases = self.report.bases.saturating_add(1);
            match all.find(|made| made.hash == hash) {
                None => {
                    let what = format!("the base as of offset {as_of} is not the one it names");
                    let found = named(Flaw::Changed, what, first);
                    self.findings.add_beside(found);
                }
                Some(made) if !made.signature.as_str().is_empty() => {
                    if let Err(found) = self.signature(made) {
                        self.findings.add_beside(found);
                    }
                }
                Some(_) => {}
            }
        }
    }

    fn signature(&self, made: &Commitment) -> Result<(), Violation> {
        let Some(key) = self.key else { return Ok(()) };
        let id = self.audit.journal_id;
        check_base(id, made.as_of, made.hash, &made.signature, key)
            .map_err(|found| named(found.flaw, found.what, made))
    }

    /// A base that stands for everything before an offset, as of which offset it is: one that is
    /// there, that an event commits to and, where a key was given, that is signed with it.
    pub(super) fn covering(&self, to: Offset) -> Option<Offset> {
        let later = self.present.iter().filter(|(as_of, _)| *as_of >= to);
        let mut sound = later.filter(|(as_of, hash)| {
            let mut made = self.commitments.iter();
            made.any(|made| {
                (made.as_of, made.hash) == (*as_of, *hash) && self.signature(made).is_ok()
            })
        });
        sound.next().map(|(as_of, _)| *as_of)
    }
}

fn named(flaw: Flaw, what: String, made: &Commitment) -> Violation {
    let (offset, seq) = made.place;
    let found = Violation::of(flaw, what).at(offset);
    found.in_stream(StreamId::Journal, seq)
}
