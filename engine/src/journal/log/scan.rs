//! Scans a segment from its first byte to its last: finds its whole frames, its damage, and its end.

use std::collections::HashMap;

use super::{
    frame::{self, ALIGN, Body, Frame, FramePosition},
    header::{self, SegmentHeader},
    table::SegmentTable,
};
use crate::{
    journal::{Offset, Stored, chain},
    model::{Hash, StreamId},
};

/// The result of a scan.
pub(super) struct Scan {
    pub(super) table: SegmentTable,
    /// The place in the file of the first frame that no later frame states as synced.
    pub(super) unsure: usize,
    /// Whether bytes other than zero follow the last frame: a part of a write that was never
    /// acknowledged.
    pub(super) torn: bool,
}

/// A whole frame and its place in the file.
pub(super) struct ScannedFrame<'a> {
    pub(super) at: usize,
    pub(super) frame: Frame<'a>,
}

/// Scans the bytes of a whole segment, header included. `after` is the header of the next segment;
/// everything before that segment was synced.
pub(super) fn scan(bytes: &[u8], header: &SegmentHeader, after: Option<&SegmentHeader>) -> Scan {
    let scanned_frames = frames(bytes, header);
    let synced = synced(&scanned_frames, header, after);
    let position = |at: usize| position_of(header, at);
    // The frames that count are those before the first bad one. If the bad one was acknowledged, the
    // later ones count too.
    let mut end = header::LEN;
    let mut table = TableBuilder::new(header.first);
    for scanned in &scanned_frames {
        if scanned.at > end {
            if position(end) >= synced {
                break;
            }
            table.damage(scanned);
        }
        table.add(scanned);
        end = scanned.at.saturating_add(scanned.frame.len);
    }
    // Acknowledged frames at the very end may be bad too, unless a repair replaced them by the next
    // segment.
    if let Some(after) = after.filter(|next| !next.repaired && position(end) < next.position) {
        table.lost(after.first);
    }
    let unsure = scanned_frames
        .iter()
        .find(|frame| position(frame.at) >= synced);
    Scan {
        unsure: unsure.map_or(end, |frame| frame.at),
        torn: bytes.get(end..).unwrap_or_default().iter().any(|b| *b != 0),
        table: table.finish(end),
    }
}

/// The highest position that any whole frame, or the next segment, states as synced.
pub(super) fn synced(
    found: &[ScannedFrame<'_>],
    header: &SegmentHeader,
    after: Option<&SegmentHeader>,
) -> u64 {
    let named = found.iter().map(|frame| frame.frame.synced);
    let synced = named.chain(after.map(|next| next.position)).max();
    synced.unwrap_or_default().max(header.position)
}

/// The position in the log of a place in the file.
pub(super) fn position_of(header: &SegmentHeader, at: usize) -> u64 {
    let within = at.saturating_sub(header::LEN) as u64;
    header.position.saturating_add(within)
}

/// Every whole frame whose offsets continue from the previous frames. Offsets never go back, and
/// offsets are left out only where bytes are damaged.
pub(super) fn frames<'a>(bytes: &'a [u8], header: &SegmentHeader) -> Vec<ScannedFrame<'a>> {
    let (mut found, mut at) = (Vec::new(), header::LEN);
    let (mut next, mut end) = (header.first, header::LEN);
    while let Some(rest) = bytes.get(at..).filter(|rest| rest.len() >= frame::HEADER) {
        let place = FramePosition {
            salt: &header.salt,
            position: position_of(header, at),
        };
        let whole = frame::decode(rest, place);
        let Some(frame) = whole.filter(|frame| continues(&frame.body, next, at == end)) else {
            at = at.saturating_add(ALIGN);
            continue;
        };
        next = frame
            .body
            .link()
            .map_or(next, |link| link.last.saturating_add(1));
        end = at.saturating_add(frame.len);
        found.push(ScannedFrame { at, frame });
        at = end;
    }
    found
}

/// Whether a frame's offsets continue from the previous frames. `is_behind`: the frame begins right
/// where the previous one ends.
fn continues(body: &Body<'_>, next: Offset, is_behind: bool) -> bool {
    let link = body.link();
    link.is_none_or(|link| link.first == next || (link.first > next && !is_behind))
}

/// Builds the table of a segment from its frames.
struct TableBuilder<'a> {
    table: SegmentTable,
    /// The next offset.
    next: Offset,
    /// The newest record of each stream. Only its link is computed, once at the end.
    newest: HashMap<StreamId, Newest<'a>>,
}

struct Newest<'a> {
    prev: Hash,
    seq: u64,
    bytes: &'a [u8],
}

impl<'a> TableBuilder<'a> {
    fn new(first: Offset) -> Self {
        Self {
            table: SegmentTable::default(),
            next: first,
            newest: HashMap::new(),
        }
    }

    fn damage(&mut self, before: &ScannedFrame<'_>) {
        let end = match before.frame.body {
            Body::Batch(link, _) | Body::Gap(link, ..) => link.first,
            // The number of lost events is unknown here. The next frame with events shows it.
            Body::Base(part, _) => part.as_of.max(self.next),
            Body::Mark => self.next.saturating_add(1),
        };
        self.lost(end);
    }

    fn lost(&mut self, to: Offset) {
        self.table.damage.push((self.next, to.max(self.next)));
        self.next = to.max(self.next);
    }

    fn add(&mut self, found: &ScannedFrame<'a>) {
        let frame_start = u32::try_from(found.at).unwrap_or(u32::MAX);
        match found.frame.body {
            Body::Batch(link, records) => {
                self.table.add_batch(frame_start, link);
                for (within, record) in frame::records(records) {
                    let within = u32::try_from(within).unwrap_or(u32::MAX);
                    self.record(frame_start.saturating_add(within), record);
                }
                self.next = link.last.saturating_add(1);
            }
            Body::Base(part, _) => self.table.bases.push((part, frame_start)),
            Body::Mark => {}
            Body::Gap(link, cause, heads) => {
                self.link_streams();
                self.table.add_gap(link, cause, &frame::heads(heads));
                self.next = link.last.saturating_add(1);
            }
        }
    }

    fn record(&mut self, at: u32, bytes: &'a [u8]) {
        // The frame is whole, so this version did not write a record that cannot be decoded. Reading
        // it by its offset reports that.
        let Some(peeked) = Stored::peek(bytes) else {
            return;
        };
        let (stream, seq) = (peeked.stream, peeked.seq);
        self.table.add_record(&stream, seq, at, Hash::default());
        let prev = peeked.prev;
        self.newest.insert(stream, Newest { prev, seq, bytes });
    }

    /// Computes the newest link of each stream.
    fn link_streams(&mut self) {
        for (stream, newest) in std::mem::take(&mut self.newest) {
            let hash = chain::link(newest.prev, &stream, newest.seq, newest.bytes);
            if let Some(places) = self.table.streams.get_mut(&stream) {
                places.last = hash;
            }
        }
    }

    fn finish(mut self, end: usize) -> SegmentTable {
        self.link_streams();
        self.table.end = u32::try_from(end).unwrap_or(u32::MAX);
        self.table
    }
}
