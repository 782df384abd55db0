//! Walks through one segment: reads its whole frames, and plans patches for the bad bytes between
//! them.

use std::collections::BTreeSet;

use super::{
    RepairWalk, found_name,
    regions::{DamagedFile, TornTail},
};
use crate::{
    journal::{
        JournalError, Offset,
        log::{
            frame::{Body, FramePart},
            header::{self, SegmentHeader},
            repair::{
                RepairSource,
                batch::{self, FoundBatch},
                fill::RangeEnd,
                log_files::SegmentFiles,
                plan::{Patch, RepairPlan},
            },
            scan::{ScannedFrame, frames, position_of, synced},
        },
    },
    model::StreamId,
};

/// The content of a segment that is being walked through.
struct OpenSegment<'a> {
    first: Offset,
    header: &'a SegmentHeader,
    bytes: &'a [u8],
    next: Option<&'a SegmentHeader>,
    frames: &'a [ScannedFrame<'a>],
}

impl RepairWalk<'_> {
    pub(super) fn segment(
        &mut self,
        first: Offset,
        header: &SegmentHeader,
    ) -> Result<(), JournalError> {
        let Some((name, bytes, spoiled)) = self.read(first)? else {
            return Ok(());
        };
        let next_header = self.after(first);
        let segment = OpenSegment {
            first,
            header,
            bytes: &bytes,
            next: next_header.as_ref(),
            frames: &frames(&bytes, header),
        };
        let (mut patches, mut end) = self.frames(&segment)?;
        let position = position_of(header, end);
        self.position = position;
        match segment.next.filter(|next| !next.repaired) {
            Some(next) if position < next.position => {
                if self.next == next.first {
                    let gap_end = place_of(header, next.position);
                    let goal = RangeEnd::At(self.next, self.prev());
                    patches.push(self.patch(&segment, end, gap_end, goal)?);
                    end = gap_end;
                    self.position = position_of(header, end);
                } else {
                    self.tail = Some(tail(&segment, name.clone(), end));
                }
            }
            Some(_) => {}
            // If what followed the newest segment is lost, its end may be needed or replaced.
            None => {
                self.tail = Some(tail(&segment, name.clone(), end));
                self.tail_is_lost = self.is_not_the_last(first);
            }
        }
        let replaced = segment.next.is_some() && self.tail.is_some() && self.next == header.first;
        // An archived segment with a block that cannot be unpacked is rewritten, even if that block
        // had no frame.
        if (!patches.is_empty() || spoiled) && !replaced {
            self.plans.push(RepairPlan::Patch {
                header: header.clone(),
                bytes,
                patches,
                aside: vec![name],
            });
        }
        Ok(())
    }

    /// The name and the bytes of a segment, and whether some of them could not be read.
    fn read(&self, first: Offset) -> Result<Option<(String, Vec<u8>, bool)>, JournalError> {
        let Some((file, _)) = self.files.get(&first).and_then(SegmentFiles::good) else {
            return Ok(None);
        };
        let (bytes, spoiled) = file.read(self.disk)?;
        Ok(Some((file.name.clone(), bytes, spoiled)))
    }

    /// The header of the next segment with a valid one.
    fn after(&self, first: Offset) -> Option<SegmentHeader> {
        let later = self.files.range(first.saturating_add(1)..);
        later
            .filter_map(|(_, files)| files.good())
            .map(|(_, header)| header.clone())
            .next()
    }

    /// Whether another segment followed this one, which is the newest readable one.
    fn is_not_the_last(&self, first: Offset) -> bool {
        let files = self.files.get(&first);
        files.is_some_and(|files| files.was_full() || files.log.is_none())
    }

    /// Reads every frame. Returns the patches for bad ones, and where the frames end.
    fn frames(&mut self, segment: &OpenSegment<'_>) -> Result<(Vec<Patch>, usize), JournalError> {
        let synced = synced(segment.frames, segment.header, segment.next);
        let (mut patches, mut end, mut number) = (Vec::new(), header::LEN, 0);
        while let Some(scanned) = segment.frames.get(number) {
            if scanned.at > end {
                if position_of(segment.header, end) >= synced {
                    break;
                }
                let (to, next, goal) = self.bad(segment, number);
                patches.push(self.patch(segment, end, to, goal)?);
                (end, number) = (to, next);
                continue;
            }
            self.take(scanned)?;
            end = scanned.at.saturating_add(scanned.frame.len);
            number = number.saturating_add(1);
        }
        Ok((patches, end))
    }

    /// The bad range before the frame with this number: where it ends in the file, the number of the
    /// frame that follows it, and where its offsets end.
    fn bad(&self, segment: &OpenSegment<'_>, number: usize) -> (usize, usize, RangeEnd) {
        let frames = segment.frames.get(number..).unwrap_or_default();
        let begin = frames.first().map_or(0, |first| first.at);
        let linked = frames
            .iter()
            .position(|scanned| scanned.frame.body.link().is_some());
        let until = linked.map_or(frames.len(), |linked| linked.saturating_add(1));
        let row = frames.get(..until).unwrap_or(frames);
        let is_contiguous = row.windows(2).all(|pair| match pair {
            [first, second] => first.at.saturating_add(first.frame.len) == second.at,
            _ => true,
        });
        let link = linked
            .and_then(|linked| frames.get(linked))
            .and_then(|scanned| Some((scanned.at, scanned.frame.body.link()?)));
        if let (Some(linked), Some((place, link))) = (linked, link) {
            let goal = RangeEnd::At(link.first, link.prev);
            return if is_contiguous {
                (begin, number, goal)
            } else {
                (place, number.saturating_add(linked), goal)
            };
        }
        let last = row
            .last()
            .map_or(begin, |batch| batch.at.saturating_add(batch.frame.len));
        match segment.next {
            // The lost batches may continue in unreadable segments after this one.
            Some(next) if self.has_unreadable_between(segment.first, next.first) => {
                if is_contiguous {
                    (begin, number, RangeEnd::Here)
                } else {
                    (last, segment.frames.len(), RangeEnd::Here)
                }
            }
            Some(next) => {
                let hash = next.before.map(|newest| newest.hash).unwrap_or_default();
                let goal = RangeEnd::At(next.first, hash);
                let place = place_of(segment.header, next.position);
                match (is_contiguous, next.repaired) {
                    (true, _) if next.repaired || last == place => (begin, number, goal),
                    (_, true) => (last, segment.frames.len(), goal),
                    _ => (place, segment.frames.len(), goal),
                }
            }
            None if is_contiguous => (begin, number, self.open_end(0)),
            None => (last, segment.frames.len(), self.open_end(0)),
        }
    }

    /// Whether there are unreadable segments between two readable ones.
    fn has_unreadable_between(&self, first: Offset, after: Offset) -> bool {
        let between = self.files.range(first.saturating_add(1)..after);
        between.into_iter().any(|(_, files)| files.is_there())
    }

    /// Plans the patch that replaces some bytes of a segment, and adds a finding.
    fn patch(
        &mut self,
        segment: &OpenSegment<'_>,
        from: usize,
        to: usize,
        goal: RangeEnd,
    ) -> Result<Patch, JournalError> {
        let (mut trusted, _) = batch::in_a_row(segment.bytes, from);
        trusted.extend(self.of_copy(segment.first)?);
        let mut untrusted = batch::anywhere(segment.bytes, from, to);
        untrusted.extend(self.offered.iter().cloned());
        let streams = self.streams_between(segment.first, from, to);
        let finding = self.findings.len();
        let room = Some(to.saturating_sub(from));
        let damaged = DamagedFile {
            name: found_name(&self.files, segment.first),
            why: "its bytes were changed after they were written".to_owned(),
        };
        let items = self.fill(goal, &trusted, &untrusted, damaged, streams, room);
        Ok(Patch {
            from,
            to,
            items,
            finding,
        })
    }

    /// The batches of the archived copy of a segment that is also in the log.
    fn of_copy(&self, first: Offset) -> Result<Vec<FoundBatch>, JournalError> {
        let Some(files) = self.files.get(&first) else {
            return Ok(Vec::new());
        };
        let (Some(_), Some(copy)) = (&files.log, &files.archive) else {
            return Ok(Vec::new());
        };
        match &copy.header {
            Ok(header) => {
                let bytes = copy.bytes(self.disk)?;
                Ok(batch::of_copy(&bytes, header, RepairSource::Archive))
            }
            Err(_) => Ok(Vec::new()),
        }
    }

    pub(super) fn streams_between(
        &self,
        first: Offset,
        from: usize,
        to: usize,
    ) -> BTreeSet<StreamId> {
        let place = |position: usize| u32::try_from(position).unwrap_or(u32::MAX);
        let files = self.files.get(&first);
        files
            .map(|files| files.streams(place(from), place(to)).collect())
            .unwrap_or_default()
    }
}

fn tail(segment: &OpenSegment<'_>, name: String, at: usize) -> TornTail {
    TornTail {
        first: segment.first,
        name,
        bytes: segment.bytes.to_vec(),
        at,
        position: segment.header.position,
        bases: segment.frames.iter().filter_map(base_of).collect(),
    }
}

/// The place in a segment's file of a position in the log.
fn place_of(header: &SegmentHeader, position: u64) -> usize {
    let within = position.saturating_sub(header.position);
    usize::try_from(within)
        .unwrap_or(usize::MAX)
        .saturating_add(header::LEN)
}

fn base_of(found: &ScannedFrame<'_>) -> Option<(FramePart, Vec<u8>)> {
    match found.frame.body {
        Body::Base(part, bytes) => Some((part, bytes.to_vec())),
        _ => None,
    }
}
