//! Walks through a log from its first byte to its last, and plans how to replace damaged parts. Writes
//! nothing. Tables are only hints: for the streams that lost events, and for a lost newest segment.

mod regions;
mod segment;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::regions::TornTail;
use super::{
    DamagedRange, IndexedEnd,
    batch::FoundBatch,
    fill::RangeEnd,
    log_files::{self, SegmentFiles},
    plan::RepairPlan,
};
use crate::{
    journal::{
        BatchLink, JournalError, Offset, Stored, chain,
        log::{
            FOLDER,
            disk::LogDisk,
            error::damaged,
            frame::{self, Body},
            header::SegmentHeader,
            scan::ScannedFrame,
        },
    },
    model::{Hash, StreamId},
};

/// The head of a stream as far as the log was read.
#[derive(Clone, Copy)]
pub(super) struct StreamSeen {
    pub(super) next_seq: u64,
    pub(super) hash: Hash,
    /// How many findings there were before its newest record.
    pub(super) findings: usize,
}

/// The missing beginning of a log: the header of its first readable segment, and the unreadable
/// segments before that.
struct Front {
    header: SegmentHeader,
    pending: Vec<Offset>,
}

/// The walk through a log, with the plans and findings so far.
pub(super) struct RepairWalk<'a> {
    disk: &'a dyn LogDisk,
    journal: &'a str,
    offered: &'a [FoundBatch],
    known: Option<IndexedEnd>,
    files: BTreeMap<Offset, SegmentFiles>,
    pub(super) next: Offset,
    link: Option<BatchLink>,
    position: u64,
    begun: bool,
    front: Option<Front>,
    tail: Option<TornTail>,
    /// Whether another segment followed the newest readable one.
    tail_is_lost: bool,
    bases: HashMap<Offset, (u32, BTreeSet<u32>)>,
    pub(super) streams: HashMap<StreamId, StreamSeen>,
    pub(super) findings: Vec<DamagedRange>,
    pub(super) plans: Vec<RepairPlan>,
    /// Whether the log has a batch that ends at the offset of the known states, with their link.
    pub(super) known_fits: bool,
}

impl<'a> RepairWalk<'a> {
    pub(super) fn over(
        disk: &'a dyn LogDisk,
        journal: &'a str,
        offered: &'a [FoundBatch],
        known: Option<IndexedEnd>,
    ) -> Result<Self, JournalError> {
        let mut walk = Self {
            disk,
            journal,
            offered,
            known,
            files: log_files::find(disk)?,
            next: 0,
            link: None,
            position: 0,
            begun: false,
            front: None,
            tail: None,
            tail_is_lost: false,
            bases: HashMap::new(),
            streams: HashMap::new(),
            findings: Vec::new(),
            plans: Vec::new(),
            known_fits: known.is_some_and(|end| end.as_of == 0),
        };
        walk.all()?;
        Ok(walk)
    }

    fn all(&mut self) -> Result<(), JournalError> {
        let present = self.files.iter().filter(|(_, files)| files.is_there());
        let firsts: Vec<_> = present.map(|(first, _)| *first).collect();
        let mut pending = Vec::new();
        for first in firsts {
            let good = self.files.get(&first).and_then(SegmentFiles::good);
            let Some(header) = good.map(|(_, header)| header.clone()) else {
                if self.begun && first < self.next {
                    let aside = self.names(&[first]);
                    self.plans.push(RepairPlan::Leftover { aside });
                } else {
                    pending.push(first);
                }
                continue;
            };
            self.begin(&header, std::mem::take(&mut pending))?;
            self.segment(first, &header)?;
        }
        self.end(pending)
    }

    fn names(&self, firsts: &[Offset]) -> Vec<String> {
        let files = firsts.iter().filter_map(|first| self.files.get(first));
        files
            .flat_map(SegmentFiles::files)
            .map(|file| file.name.clone())
            .collect()
    }

    fn prev(&self) -> Hash {
        self.link.map(|link| link.hash).unwrap_or_default()
    }

    /// Checks that a segment follows the previous one, and fills the range that is missing in between.
    fn begin(&mut self, header: &SegmentHeader, pending: Vec<Offset>) -> Result<(), JournalError> {
        let name = found_name(&self.files, header.first);
        if header.journal != self.journal {
            let (ours, theirs) = (self.journal, &header.journal);
            let why =
                format!("it is a segment of the journal {theirs}, and this is the journal {ours}");
            return Err(damaged(&name, why));
        }
        if header.first < self.next {
            let why = format!(
                "it begins at offset {}, where the one before it goes up to {}",
                header.first, self.next
            );
            return Err(damaged(&name, why));
        }
        if !self.begun {
            if header.first > 0 {
                self.front = Some(Front {
                    header: header.clone(),
                    pending,
                });
            }
        } else if header.first > self.next || !pending.is_empty() {
            let hash = header.before.map(|link| link.hash).unwrap_or_default();
            let end = RangeEnd::At(header.first, hash);
            self.region(end, &pending, Some(header.position))?;
        } else if !same_end(header.before, self.link) {
            let why = "it does not follow the segment before it: segments of two logs are mixed";
            return Err(damaged(&name, why));
        }
        self.tail = None;
        (self.begun, self.next, self.link) = (true, header.first, header.before);
        self.position = header.position;
        Ok(())
    }

    fn reach(&mut self, link: BatchLink) {
        self.next = link.last.saturating_add(1);
        self.link = Some(link);
        if let Some(end) = self.known.filter(|end| end.as_of == self.next) {
            self.known_fits = end.hash == link.hash;
        }
    }

    fn take(&mut self, found: &ScannedFrame<'_>) -> Result<(), JournalError> {
        match found.frame.body {
            Body::Batch(link, records) => {
                let number = self.findings.len();
                for (_, record) in frame::records(records) {
                    self.record(record, number);
                }
                self.reach(link);
            }
            Body::Gap(link, _, heads) => {
                for head in frame::heads(heads) {
                    let stream_end = StreamSeen {
                        next_seq: head.next_seq,
                        hash: head.hash,
                        findings: self.findings.len(),
                    };
                    self.streams.insert(head.stream, stream_end);
                }
                self.reach(link);
            }
            Body::Base(part, _) => {
                let parts = self.bases.entry(part.as_of).or_default();
                parts.0 = part.of;
                parts.1.insert(part.number);
            }
            Body::Mark => {}
        }
        Ok(())
    }

    /// Notes a record. If its stream continued in between, the stream lacks events of the findings
    /// since its previous record.
    fn record(&mut self, bytes: &[u8], findings: usize) {
        let Some(peeked) = Stored::peek(bytes) else {
            return;
        };
        let hash = chain::link(peeked.prev, &peeked.stream, peeked.seq, bytes);
        let recorded = self.streams.get(&peeked.stream);
        let (expected, since) = recorded.map_or((0, 0), |end| (end.next_seq, end.findings));
        if peeked.seq > expected {
            let incomplete = self.findings.get_mut(since..).unwrap_or_default();
            for finding in incomplete.iter_mut().filter(|f| !f.lost.is_empty()) {
                if !finding.streams.contains(&peeked.stream) {
                    finding.streams.push(peeked.stream.clone());
                }
            }
        }
        let stream_end = StreamSeen {
            next_seq: peeked.seq.saturating_add(1),
            hash,
            findings,
        };
        self.streams.insert(peeked.stream, stream_end);
    }
}

/// Whether two links have the same end. The link of a gap covers several batches, so the beginnings
/// may differ.
fn same_end(one: Option<BatchLink>, other: Option<BatchLink>) -> bool {
    let end = |link: BatchLink| (link.last, link.hash);
    one.map(end) == other.map(end)
}

fn found_name(files: &BTreeMap<Offset, SegmentFiles>, first: Offset) -> String {
    let segment = files.get(&first).and_then(SegmentFiles::good);
    segment.map_or_else(|| FOLDER.to_owned(), |(file, _)| file.name.clone())
}
