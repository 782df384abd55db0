//! The chains of the streams, followed record by record.

use std::collections::HashMap;

use super::{Flaw, Violation, findings::Findings};
use crate::{
    journal::{Offset, Seal, Stored},
    model::{Hash, StreamId},
};

/// How far a stream was followed.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) next_seq: u64,
    pub(super) hash: Hash,
    /// The sequence of its first record that is there.
    pub(super) begin: u64,
    offset: Offset,
    /// Its batch does not match its link: this record or another of the batch was changed.
    suspect: bool,
}

/// Sequences that did not come when they should have.
struct Gap {
    stream: StreamId,
    from: u64,
    to: u64,
    after: Offset,
    before: Offset,
    found: bool,
}

/// A batch that does not match its link, and those of its records nobody has cleared.
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
}

impl Streams {
    /// Goes on from what stands for a stream's archived records.
    pub(super) fn resume(&mut self, seal: &Seal) {
        let head = Followed {
            next_seq: seal.next_seq,
            hash: seal.hash,
            begin: seal.begin(),
            offset: seal.last,
            suspect: false,
        };
        self.heads.insert(seal.stream.clone(), head);
    }

    /// Notes a batch that does not match its link, before its records are followed.
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

    /// Holds a record against what its stream held before.
    pub(super) fn follow(&mut self, record: &Stored, suspect: bool, findings: &mut Findings) {
        let head = self.heads.get(&record.stream).cloned();
        let (next, hash) = head
            .as_ref()
            .map_or((0, Hash::default()), |head| (head.next_seq, head.hash));
        if record.seq < next {
            self.came_late(record, findings);
            return;
        }
        let begin = head.as_ref().map_or(0, |head| head.begin);
        if record.seq > next {
            self.gap(record, next, head.map_or(0, |head| head.offset));
        } else if let Some(before) = head.filter(|head| head.suspect) {
            self.judge(record, &before, hash, findings);
        } else if record.prev != hash {
            findings.accuse(
                Flaw::Changed,
                record,
                "it is not linked to the record before it",
            );
        }
        let head = Followed {
            next_seq: record.seq.saturating_add(1),
            hash: record.hash,
            begin,
            offset: record.offset,
            suspect,
        };
        self.heads.insert(record.stream.clone(), head);
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

    /// A record says what the one before it was: that clears it, or names it.
    fn judge(&mut self, record: &Stored, before: &Followed, hash: Hash, findings: &mut Findings) {
        let offset = before.offset;
        if record.prev != hash {
            let what = "its content is not what the next record of its stream was linked to";
            let violation = Violation::of(Flaw::Changed, what).at(offset);
            findings.add(violation.in_stream(record.stream.clone(), record.seq.saturating_sub(1)));
        }
        for batch in &mut self.suspects {
            batch.records.remove(&offset);
        }
    }

    fn came_late(&mut self, record: &Stored, findings: &mut Findings) {
        let fits = |gap: &&mut Gap| {
            gap.stream == record.stream && (gap.from..gap.to).contains(&record.seq)
        };
        let what = match self.gaps.iter_mut().find(fits) {
            Some(gap) => {
                gap.found = true;
                "it stands after records that were written later"
            }
            None => "its place in the stream is taken already",
        };
        findings.accuse(Flaw::Reordered, record, what);
    }

    /// Names what never came, once all records are known.
    pub(super) fn name_gaps(&mut self, findings: &mut Findings) {
        for gap in std::mem::take(&mut self.gaps) {
            if !gap.found {
                name_gap(&gap, findings);
            }
        }
    }

    /// Names the batches for which nobody else could be named.
    pub(super) fn name_batches(&mut self, findings: &mut Findings) {
        for batch in std::mem::take(&mut self.suspects) {
            if !findings.is_accused(batch.first, batch.last) {
                name_batch(batch, findings);
            }
        }
    }
}

fn name_gap(gap: &Gap, findings: &mut Findings) {
    if findings.is_named(&gap.stream, gap.from) {
        return;
    }
    let single = gap.to.saturating_sub(gap.from) == 1;
    let nameless = findings.nameless(gap.after, gap.before);
    let what = match gap.to.saturating_sub(1) {
        last if single => format!("it is missing (#{last})"),
        last => format!("#{} to #{last} are missing", gap.from),
    };
    let missing = Violation::of(Flaw::Missing, what).in_stream(gap.stream.clone(), gap.from);
    findings.add(match nameless.filter(|_| single) {
        Some(offset) => missing.at(offset),
        None => missing,
    });
}

fn name_batch(batch: Suspects, findings: &mut Findings) {
    let Suspects {
        first,
        last,
        mut records,
    } = batch;
    let single = records.len() == 1;
    if let Some((offset, (stream, seq))) = records.drain().next().filter(|_| single) {
        let what = "its content is not what its batch was linked to";
        findings.add(
            Violation::of(Flaw::Changed, what)
                .in_stream(stream, seq)
                .at(offset),
        );
        return;
    }
    let what = format!("one of the records at the offsets {first} to {last} was changed");
    findings.add(Violation::of(Flaw::Changed, what).at(first));
}
