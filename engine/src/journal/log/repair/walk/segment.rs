//! Walks through one segment: reads its whole frames, and plans patches for the bad bytes between
//! them.

use std::collections::BTreeSet;

use super::{RepairWalk, found_name, regions::TornTail};
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
    after: Option<&'a SegmentHeader>,
    found: &'a [ScannedFrame<'a>],
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
        let after = self.after(first);
        let found = frames(&bytes, header);
        let open = OpenSegment {
            first,
            header,
            bytes: &bytes,
            after: after.as_ref(),
            found: &found,
        };
        let (mut patches, mut end) = self.frames(&open)?;
        let position = position_of(header, end);
        self.position = position;
        match after.as_ref().filter(|after| !after.repaired) {
            Some(after) if position < after.position => {
                if self.next == after.first {
                    let to = place_of(header, after.position);
                    let goal = RangeEnd::At(self.next, self.prev());
                    patches.push(self.patch(&open, end, to, goal)?);
                    end = to;
                    self.position = position_of(header, end);
                } else {
                    self.tail = Some(tail(&open, name.clone(), end));
                }
            }
            Some(_) => {}
            // If what followed the newest segment is lost, its end may be needed or replaced.
            None => {
                self.tail = Some(tail(&open, name.clone(), end));
                self.tail_is_lost = self.is_not_the_last(first);
            }
        }
        let replaced = after.is_some() && self.tail.is_some() && self.next == header.first;
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
    fn frames(&mut self, open: &OpenSegment<'_>) -> Result<(Vec<Patch>, usize), JournalError> {
        let synced = synced(open.found, open.header, open.after);
        let (mut patches, mut end, mut at) = (Vec::new(), header::LEN, 0);
        while let Some(found) = open.found.get(at) {
            if found.at > end {
                if position_of(open.header, end) >= synced {
                    break;
                }
                let (to, next, goal) = self.bad(open, at);
                patches.push(self.patch(open, end, to, goal)?);
                (end, at) = (to, next);
                continue;
            }
            self.take(found)?;
            end = found.at.saturating_add(found.frame.len);
            at = at.saturating_add(1);
        }
        Ok((patches, end))
    }

    /// The bad range before frame number `at`: where it ends in the file, the number of the frame that
    /// follows it, and where its offsets end.
    fn bad(&self, open: &OpenSegment<'_>, at: usize) -> (usize, usize, RangeEnd) {
        let found = open.found.get(at..).unwrap_or_default();
        let begin = found.first().map_or(0, |found| found.at);
        let linked = found
            .iter()
            .position(|found| found.frame.body.link().is_some());
        let until = linked.map_or(found.len(), |linked| linked.saturating_add(1));
        let row = found.get(..until).unwrap_or(found);
        let one = row.windows(2).all(|pair| match pair {
            [one, other] => one.at.saturating_add(one.frame.len) == other.at,
            _ => true,
        });
        let link = linked
            .and_then(|linked| found.get(linked))
            .and_then(|found| Some((found.at, found.frame.body.link()?)));
        if let (Some(linked), Some((place, link))) = (linked, link) {
            let goal = RangeEnd::At(link.first, link.prev);
            return if one {
                (begin, at, goal)
            } else {
                (place, at.saturating_add(linked), goal)
            };
        }
        let last = row
            .last()
            .map_or(begin, |batch| batch.at.saturating_add(batch.frame.len));
        match open.after {
            // The lost batches may continue in unreadable segments after this one.
            Some(after) if self.has_unreadable_between(open.first, after.first) => {
                if one {
                    (begin, at, RangeEnd::Here)
                } else {
                    (last, open.found.len(), RangeEnd::Here)
                }
            }
            Some(after) => {
                let hash = after.before.map(|before| before.hash).unwrap_or_default();
                let goal = RangeEnd::At(after.first, hash);
                let place = place_of(open.header, after.position);
                match (one, after.repaired) {
                    (true, _) if after.repaired || last == place => (begin, at, goal),
                    (_, true) => (last, open.found.len(), goal),
                    _ => (place, open.found.len(), goal),
                }
            }
            None if one => (begin, at, self.open_end(0)),
            None => (last, open.found.len(), self.open_end(0)),
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
        open: &OpenSegment<'_>,
        from: usize,
        to: usize,
        goal: RangeEnd,
    ) -> Result<Patch, JournalError> {
        let name = found_name(&self.files, open.first);
        let (mut trusted, _) = batch::in_a_row(open.bytes, from);
        trusted.extend(self.of_copy(open.first)?);
        let mut others = batch::anywhere(open.bytes, from, to);
        others.extend(self.offered.iter().cloned());
        let streams = self.streams_between(open.first, from, to);
        let why = "its bytes were changed after they were written";
        let finding = self.findings.len();
        let room = Some(to.saturating_sub(from));
        let place = (name, why.to_owned());
        let items = self.fill(goal, &trusted, &others, place, streams, room);
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
        let at = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        let files = self.files.get(&first);
        files
            .map(|files| files.streams(at(from), at(to)).collect())
            .unwrap_or_default()
    }
}

fn tail(open: &OpenSegment<'_>, name: String, at: usize) -> TornTail {
    TornTail {
        first: open.first,
        name,
        bytes: open.bytes.to_vec(),
        at,
        position: open.header.position,
        bases: open.found.iter().filter_map(base_of).collect(),
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
