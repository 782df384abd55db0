//! Lost ranges: finds the batches that can be recovered, and plans the segments that replace them.

use std::collections::BTreeSet;

use super::{Front, RepairWalk};
use crate::{
    journal::{
        JournalError, Offset,
        log::{
            FOLDER,
            error::damaged,
            frame::{self, FramePart},
            header,
            repair::{
                DamagedRange, Lost,
                batch::{self, FoundBatch},
                fill::{FillItem, RangeEnd, fill},
                log_files::SegmentFiles,
                plan::{New, RepairPlan},
            },
        },
    },
    model::StreamId,
};

/// A damaged file, and what is wrong with it.
pub(super) struct DamagedFile {
    pub(super) name: String,
    pub(super) why: String,
}

/// The end of a segment, after its last whole frame, which may be damaged.
pub(super) struct TornTail {
    pub(super) first: Offset,
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
    /// The position of the segment in the log, and the parts of bases in it. They are needed for a
    /// segment that replaces this one, if none of its events is whole.
    pub(super) position: u64,
    pub(super) bases: Vec<(FramePart, Vec<u8>)>,
}

impl RepairWalk<'_> {
    /// Fills the range that is lost from here on, and adds a finding.
    pub(super) fn fill(
        &mut self,
        goal: RangeEnd,
        trusted: &[FoundBatch],
        others: &[FoundBatch],
        damaged: DamagedFile,
        mut streams: BTreeSet<StreamId>,
        room: Option<usize>,
    ) -> Vec<FillItem> {
        let from = self.next;
        // Only frames without events are lost, such as a part of a base.
        let has_no_event = matches!(goal, RangeEnd::At(to, _) if to <= from);
        let mut items = if has_no_event {
            Vec::new()
        } else {
            fill(from, self.prev(), goal, trusted, others)
        };
        if let (RangeEnd::Here, Some(room)) = (goal, room) {
            while taken(&items) > room || room.saturating_sub(taken(&items)) == frame::ALIGN {
                items.pop();
            }
        }
        let mut open_ended = matches!(goal, RangeEnd::NotBefore(_));
        // If no further batch would have fitted, none was lost.
        if open_ended && room.is_some_and(|room| !leaves_room(&items, room)) {
            items.pop();
            open_ended = false;
        }
        let mut finding = DamagedRange {
            from,
            to: from,
            open_ended,
            file: damaged.name,
            why: damaged.why,
            streams: Vec::new(),
            regained: Vec::new(),
            lost: Vec::new(),
        };
        let number = self.findings.len();
        for item in &items {
            let link = *item.link();
            finding.to = link.last.saturating_add(1);
            match item {
                FillItem::Batch(batch) => {
                    finding.regain(link.first, finding.to, batch.source);
                    for bytes in &batch.records {
                        self.record(bytes, number);
                    }
                }
                FillItem::Gap(_) => finding.lost.push(Lost {
                    from: link.first,
                    to: finding.to,
                }),
            }
            self.reach(link);
        }
        streams.retain(|_| !finding.lost.is_empty());
        finding.streams = streams.into_iter().collect();
        self.findings.push(finding);
        items
    }

    /// Plans a segment that replaces the range that is missing from here on.
    pub(super) fn region(
        &mut self,
        goal: RangeEnd,
        pending: &[Offset],
        until: Option<u64>,
    ) -> Result<(), JournalError> {
        let (first, before, mut position) = (self.next, self.link, self.position);
        let (mut aside, mut bases) = (self.names(pending), Vec::new());
        let (mut trusted, mut others) = (Vec::new(), self.offered.to_vec());
        let mut streams = BTreeSet::new();
        let mut damaged = DamagedFile {
            name: FOLDER.to_owned(),
            why: "a segment is missing".to_owned(),
        };
        if let Some(tail) = self.tail.take() {
            trusted.extend(batch::in_a_row(&tail.bytes, tail.at).0);
            others.extend(batch::anywhere(&tail.bytes, tail.at, tail.bytes.len()));
            streams.extend(self.streams_between(tail.first, tail.at, usize::MAX));
            if tail.first == first {
                aside.extend(self.names(&[first]));
                (position, bases) = (tail.position, tail.bases);
            }
            if tail.bytes.get(tail.at..).is_some_and(is_used) {
                damaged.name = tail.name;
                damaged.why = "its end is not what was written".to_owned();
            }
        }
        for batch_first in pending {
            let files: Vec<_> = self.files.get(batch_first).into_iter().collect();
            for file in files.iter().flat_map(|files| files.files()) {
                let bytes = file.bytes(self.disk)?;
                trusted.extend(batch::in_a_row(&bytes, header::LEN).0);
                others.extend(batch::anywhere(&bytes, header::LEN, bytes.len()));
                if let Err(why) = &file.header {
                    damaged.name.clone_from(&file.name);
                    damaged.why.clone_from(why);
                }
            }
        }
        let end = match goal {
            RangeEnd::At(end, _) => end,
            RangeEnd::NotBefore(_) | RangeEnd::Here => Offset::MAX,
        };
        for (_, files) in self.files.range(first..end) {
            streams.extend(files.streams(0, u32::MAX));
        }
        let finding = self.findings.len();
        let items = self.fill(goal, &trusted, &others, damaged, streams, None);
        self.plans.push(RepairPlan::New(New {
            first,
            before,
            position,
            until,
            bases,
            items,
            finding,
            aside,
        }));
        Ok(())
    }

    /// Fills what is missing after the newest readable segment, and before the oldest.
    pub(super) fn end(&mut self, pending: Vec<Offset>) -> Result<(), JournalError> {
        if !self.begun && pending.is_empty() {
            return Err(damaged(FOLDER, "the log is gone: it has no segment"));
        }
        if let Some(last) = pending.last() {
            let goal = if self.ends_well(&pending)? {
                RangeEnd::Here
            } else {
                self.open_end(last.saturating_add(1))
            };
            self.region(goal, &pending, None)?;
        } else if self.tail_is_lost {
            let goal = self.open_end(0);
            self.region(goal, &[], None)?;
        }
        self.begun = true;
        self.fill_front()
    }

    /// Whether the newest segment, whose header is bad, has whole batches and then only zeros.
    fn ends_well(&self, pending: &[Offset]) -> Result<bool, JournalError> {
        let [only] = pending else { return Ok(false) };
        let mut files = self
            .files
            .get(only)
            .into_iter()
            .flat_map(SegmentFiles::files);
        let Some(file) = files.next() else {
            return Ok(false);
        };
        let bytes = file.bytes(self.disk)?;
        let (batches, end) = batch::in_a_row(&bytes, header::LEN);
        let head = bytes.get(..header::LEN).unwrap_or_default();
        let rest = bytes.get(end..).unwrap_or_default();
        let follows = batches
            .first()
            .is_none_or(|first| first.link.first == self.next && first.link.prev == self.prev());
        let is_written = !batches.is_empty() || is_used(head);
        Ok(follows && is_written && !rest.is_empty() && !is_used(rest))
    }

    /// Fills what is missing before the first readable segment, unless a base covers it.
    fn fill_front(&mut self) -> Result<(), JournalError> {
        let Some(Front { header, pending }) = self.front.take() else {
            return Ok(());
        };
        if pending.is_empty() && self.newest_base() >= Some(header.first) {
            return Ok(());
        }
        let (next, link, position) = (self.next, self.link, self.position);
        let streams = std::mem::take(&mut self.streams);
        (self.next, self.link, self.position) = (0, None, 0);
        let hash = header.before.map(|newest| newest.hash).unwrap_or_default();
        let goal = RangeEnd::At(header.first, hash);
        self.region(goal, &pending, Some(header.position))?;
        (self.next, self.link, self.position) = (next, link, position);
        self.streams = streams;
        Ok(())
    }

    /// The offset of the newest base that has all its parts.
    fn newest_base(&self) -> Option<Offset> {
        let whole = |(_, (of, parts)): &(&Offset, &(u32, BTreeSet<u32>))| {
            (0..*of).all(|number| parts.contains(&number))
        };
        let whole = self.bases.iter().filter(whole);
        whole.map(|(as_of, _)| *as_of).max()
    }

    /// The end of a log whose newest events are lost: known from the index, or else a lower bound.
    pub(super) fn open_end(&self, least: Offset) -> RangeEnd {
        let bases = self.bases.keys().copied().max().unwrap_or_default();
        match self.known {
            Some(known) if known.as_of > self.next.max(bases).max(least) => {
                RangeEnd::At(known.as_of, known.hash)
            }
            _ => RangeEnd::NotBefore(least.max(bases).max(self.next.saturating_add(1))),
        }
    }
}

/// Whether there is room for a gap after the recovered batches.
fn leaves_room(items: &[FillItem], room: usize) -> bool {
    room.saturating_sub(taken(items)) >= frame::gap_len(&[])
}

fn taken(items: &[FillItem]) -> usize {
    let lengths = items.iter().map(|item| match item {
        FillItem::Batch(batch) => batch.frame_len(),
        FillItem::Gap(_) => 0,
    });
    lengths.sum()
}

fn is_used(bytes: &[u8]) -> bool {
    bytes.iter().any(|byte| *byte != 0)
}
