//! Checks the chains of the streams, record by record.

use std::collections::{HashMap, HashSet};

use super::{
    super::{Flaw, Violation},
    findings::VerifyFindings,
};
use crate::{
    journal::{Offset, States, Stored, StreamHead, StreamState},
    model::{Hash, StreamId},
};

/// The state of a stream after the records checked so far.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) next_seq: u64,
    pub(super) hash: Hash,
    /// The ranges of sequences, from and to, whose records are in missing ranges.
    pub(super) gaps: Vec<(u64, u64)>,
    /// How many missing ranges came before its newest record.
    era: usize,
    offset: Offset,
    /// The newest record's batch does not match its link: one of the batch's records was changed.
    suspect: bool,
}

/// Sequences that were skipped: their records did not come in order.
struct Gap {
    stream: StreamId,
    from: u64,
    to: u64,
    after: Offset,
    before: Offset,
    found: bool,
}

/// A batch that does not match its link, and its records that are still suspected.
struct Suspects {
    first: Offset,
    last: Offset,
    records: HashMap<Offset, (StreamId, u64)>,
}

/// All streams of a journal.
#[derive(Default)]
pub(super) struct Streams {
    pub(super) heads: HashMap<StreamId, Followed>,
    gaps: Vec<Gap>,
    suspects: Vec<Suspects>,
    /// How many missing ranges were passed so far.
    era: usize,
    /// Whether streams may have begun within a missing range.
    hidden: bool,
}

impl Streams {
    /// Passes a missing range: any stream may have continued in it, and new ones may have begun.
    pub(super) fn pass_missing(&mut self) {
        self.era = self.era.saturating_add(1);
        self.hidden = true;
    }

    /// Whether records of a stream from that sequence may be in a missing range.
    pub(super) fn may_miss(&self, stream: &StreamId, seq: u64) -> bool {
        match self.heads.get(stream) {
            Some(head) => seq >= head.next_seq && head.era < self.era,
            None => self.hidden,
        }
    }

    /// Checks a base against the streams; streams that continued in a missing range resume from the
    /// base.
    pub(super) fn check(&mut self, states: &States, findings: &mut VerifyFindings) {
        let mut named = HashSet::new();
        for state in &states.streams {
            let (next_seq, hash) = end_of(state);
            let stream = state.stream();
            if !self.reach(&stream, next_seq, hash, states.as_of) {
                accuse(&stream, next_seq, states.as_of, findings);
            }
            named.insert(stream);
        }
        self.hidden = false;
        let forgotten =
            |stream: &&StreamId| !matches!(stream, StreamId::Run(_)) && !named.contains(stream);
        for stream in self.heads.keys().filter(forgotten) {
            let next_seq = self.heads.get(stream).map_or(0, |head| head.next_seq);
            accuse(stream, next_seq, states.as_of, findings);
        }
    }

    /// Moves a stream to its position in a base; false if that position is impossible.
    fn reach(&mut self, stream: &StreamId, next_seq: u64, hash: Hash, as_of: Offset) -> bool {
        let Some(head) = self.heads.get_mut(stream) else {
            let gaps = vec![(0, next_seq)];
            let (offset, suspect, era) = (as_of, false, self.era);
            let head = Followed {
                next_seq,
                hash,
                gaps,
                era,
                offset,
                suspect,
            };
            if self.hidden {
                self.heads.insert(stream.clone(), head);
            }
            return self.hidden;
        };
        if head.next_seq == next_seq {
            head.era = self.era;
            return head.hash == hash || head.suspect;
        }
        if head.era == self.era || head.next_seq > next_seq {
            return false;
        }
        head.gaps.push((head.next_seq, next_seq));
        (head.next_seq, head.hash, head.era) = (next_seq, hash, self.era);
        (head.offset, head.suspect) = (as_of, false);
        true
    }

    /// Notes a batch that does not match its link, before its records are checked.
    pub(super) fn suspect(&mut self, first: Offset, last: Offset, records: &[Stored]) {
        let named = records
            .iter()
            .map(|r| (r.offset, (r.stream.clone(), r.seq)));
        self.suspects.push(Suspects {
            first,
            last,
            records: named.collect(),
        });
    }

    /// Checks a record against the previous records of its stream.
    pub(super) fn follow(&mut self, record: &Stored, suspect: bool, findings: &mut VerifyFindings) {
        let head = self.heads.get(&record.stream).cloned();
        let (next, hash) = head
            .as_ref()
            .map_or((0, Hash::default()), |head| (head.next_seq, head.hash));
        if record.seq < next {
            self.came_late(record, findings);
            return;
        }
        let mut gaps = head.as_ref().map(|head| head.gaps.clone());
        if record.seq > next && self.may_miss(&record.stream, next) {
            gaps.get_or_insert_default().push((next, record.seq));
        } else if record.seq > next {
            self.gap(record, next, head.map_or(0, |head| head.offset));
        } else if let Some(suspected) = head.filter(|head| head.suspect) {
            self.judge(record, &suspected, hash, findings);
        } else if record.prev != hash {
            findings.accuse(
                Flaw::Changed,
                record,
                "it is not linked to the record before it",
            );
        }
        let followed = Followed {
            next_seq: record.seq.saturating_add(1),
            hash: record.hash,
            gaps: gaps.unwrap_or_default(),
            era: self.era,
            offset: record.offset,
            suspect,
        };
        self.heads.insert(record.stream.clone(), followed);
    }

    fn gap(&mut self, record: &Stored, from: u64, after: Offset) {
        self.gaps.push(Gap {
            stream: record.stream.clone(),
            from,
            to: record.seq,
            after,
            before: record.offset,
            found: false,
        });
    }

    /// Uses the hash of the previous record in `record`: it either clears that record or shows that
    /// it was changed.
    fn judge(
        &mut self,
        record: &Stored,
        before: &Followed,
        hash: Hash,
        findings: &mut VerifyFindings,
    ) {
        let offset = before.offset;
        if record.prev != hash {
            let message = "the next record of its stream links to other content";
            let violation = Violation::of(Flaw::Changed, message).at(offset);
            findings.add(violation.in_stream(record.stream.clone(), record.seq.saturating_sub(1)));
        }
        for batch in &mut self.suspects {
            batch.records.remove(&offset);
        }
    }

    /// Compares a stream with its head in the journal. If they agree, the stream's newest record is
    /// not the one that was changed.
    pub(super) fn meet(&mut self, head: &StreamHead) {
        let Some(followed) = self.heads.get(&head.stream) else {
            return;
        };
        if (followed.next_seq, followed.hash) == (head.next_seq, head.hash) {
            let offset = followed.offset;
            for batch in &mut self.suspects {
                // The last suspect stays suspected, whatever the journal's head is.
                if batch.records.len() > 1 {
                    batch.records.remove(&offset);
                }
            }
        }
    }

    fn came_late(&mut self, record: &Stored, findings: &mut VerifyFindings) {
        let fits = |gap: &&mut Gap| {
            gap.stream == record.stream && (gap.from..gap.to).contains(&record.seq)
        };
        let message = match self.gaps.iter_mut().find(fits) {
            Some(gap) => {
                gap.found = true;
                "it is after records that were written later"
            }
            None => "its place in the stream is used twice",
        };
        findings.accuse(Flaw::Reordered, record, message);
    }

    /// Reports the sequences that never came, once all records are known.
    pub(super) fn name_gaps(&mut self, findings: &mut VerifyFindings) {
        for gap in std::mem::take(&mut self.gaps) {
            if !gap.found {
                name_gap(&gap, findings);
            }
        }
    }

    /// Reports the suspected batches in which nothing else was reported.
    pub(super) fn name_batches(&mut self, findings: &mut VerifyFindings) {
        for batch in std::mem::take(&mut self.suspects) {
            if !findings.is_accused(batch.first, batch.last) {
                name_batch(batch, findings);
            }
        }
    }
}

fn name_gap(gap: &Gap, findings: &mut VerifyFindings) {
    if findings.is_named(&gap.stream, gap.from) {
        return;
    }
    let single = gap.to.saturating_sub(gap.from) == 1;
    let nameless = findings.nameless(gap.after, gap.before);
    let message = match gap.to.saturating_sub(1) {
        last if single => format!("it is missing (#{last})"),
        last => format!("#{} to #{last} are missing", gap.from),
    };
    let missing = Violation::of(Flaw::Missing, message).in_stream(gap.stream.clone(), gap.from);
    findings.add(match nameless.filter(|_| single) {
        Some(offset) => missing.at(offset),
        None => missing,
    });
}

fn name_batch(batch: Suspects, findings: &mut VerifyFindings) {
    let Suspects {
        first,
        last,
        mut records,
    } = batch;
    let single = records.len() == 1;
    if let Some((offset, (stream, seq))) = records.drain().next().filter(|_| single) {
        let message = "its batch links to other content";
        findings.add(
            Violation::of(Flaw::Changed, message)
                .in_stream(stream, seq)
                .at(offset),
        );
        return;
    }
    let message = format!("one of the records at the offsets {first} to {last} was changed");
    findings.add(Violation::of(Flaw::Changed, message).at(first));
}

/// The sequence and the hash that the stream's next record continues from.
fn end_of(state: &StreamState) -> (u64, Hash) {
    match state {
        StreamState::Entity(_, folded) => (folded.next_seq, folded.hash),
        StreamState::Run(_, folded) => (folded.next_seq, folded.hash),
        StreamState::Journal { next_seq, hash } => (*next_seq, *hash),
    }
}

fn accuse(stream: &StreamId, next_seq: u64, as_of: Offset, findings: &mut VerifyFindings) {
    let message =
        format!("the base as of offset {as_of} continues from another record than this one");
    let violation = Violation::of(Flaw::Changed, message);
    findings.add_beside(violation.in_stream(stream.clone(), next_seq.saturating_sub(1)));
}
