//! Batches that may replace lost ones. A batch is verified by its link alone, without the frame's
//! checksum: the link covers the links of its records and, through them, every byte.

use super::super::{
    frame::{self, ALIGN, Body, HEADER, LINK},
    header::{self, SegmentHeader},
    scan::frames,
};
use crate::journal::{BatchLink, Offset, Stored};

/// Where lost events were found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepairSource {
    /// The damaged file itself: the damage does not affect these events.
    Segment,
    /// The archive.
    Archive,
    /// The given backup or export.
    File,
}

/// A batch whose records match its link.
#[derive(Clone, Debug)]
pub(in crate::journal) struct FoundBatch {
    pub(super) link: BatchLink,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) source: RepairSource,
}

impl FoundBatch {
    /// A batch of a backup or an export; the caller has already checked its link.
    pub(in crate::journal) fn offered(link: BatchLink, records: Vec<Vec<u8>>) -> Self {
        let source = RepairSource::File;
        Self {
            link,
            records,
            source,
        }
    }

    /// The length of its frame, in bytes.
    pub(super) fn frame_len(&self) -> usize {
        frame::batch_len(self.records.iter().map(Vec::len))
    }

    pub(super) fn next(&self) -> Offset {
        self.link.last.saturating_add(1)
    }

    /// The batch whose frame begins at `at`, if it matches its link.
    fn at(bytes: &[u8], at: usize, source: RepairSource) -> Option<Self> {
        let rest = bytes.get(at.checked_add(HEADER)?..)?;
        let (link, rest) = rest.split_first_chunk::<LINK>()?;
        Self::of(frame::link_of(link)?, rest, source)
    }

    /// The batch with a link and with the records at the front of some bytes, if they match.
    fn of(link: BatchLink, bytes: &[u8], source: RepairSource) -> Option<Self> {
        let count = link.last.checked_sub(link.first)?.checked_add(1)?;
        // Each record takes at least a byte, so a larger count is invalid.
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= bytes.len())?;
        let (mut records, mut hashes) = (Vec::new(), Vec::new());
        for ((_, record), offset) in frame::records(bytes).take(count).zip(link.first..) {
            let stored = Stored::parse_at(offset, record.to_vec()).ok()?;
            hashes.push(stored.hash);
            records.push(stored.bytes);
        }
        let computed_link = BatchLink::new(link.prev, link.first, link.last, &hashes);
        (records.len() == count && computed_link == link).then_some(Self {
            link,
            records,
            source,
        })
    }
}

/// The batches in consecutive frames from a place on, and where these frames end.
pub(super) fn in_a_row(bytes: &[u8], mut at: usize) -> (Vec<FoundBatch>, usize) {
    let mut batches = Vec::new();
    loop {
        if let Some(batch) = FoundBatch::at(bytes, at, RepairSource::Segment) {
            at = at.saturating_add(batch.frame_len());
            batches.push(batch);
            continue;
        }
        // A frame that is not a valid batch is skipped by the length that it claims.
        let rest = bytes.get(at..).unwrap_or_default();
        match frame::claimed_len(rest).filter(|len| *len <= rest.len()) {
            Some(len) => at = at.saturating_add(len),
            None => return (batches, at),
        }
    }
}

/// The batches that begin anywhere between two places. Some may be forged in the content of a record,
/// so they may be used only if the chain links to them.
pub(super) fn anywhere(bytes: &[u8], from: usize, to: usize) -> Vec<FoundBatch> {
    let mut batches = Vec::new();
    let mut position = from.next_multiple_of(ALIGN);
    while position < to.min(bytes.len()) {
        match FoundBatch::at(bytes, position, RepairSource::Segment) {
            Some(batch) => {
                position = position.saturating_add(batch.frame_len());
                batches.push(batch);
            }
            None => position = position.saturating_add(ALIGN),
        }
    }
    batches
}

/// The batches in the whole frames of another copy of a segment.
pub(super) fn of_copy(
    bytes: &[u8],
    header: &SegmentHeader,
    source: RepairSource,
) -> Vec<FoundBatch> {
    debug_assert!(header::LEN.is_multiple_of(ALIGN));
    let scanned_frames = frames(bytes, header);
    let batch = |body: Body<'_>| match body {
        Body::Batch(link, records) => FoundBatch::of(link, records, source),
        _ => None,
    };
    scanned_frames
        .into_iter()
        .filter_map(|scanned| batch(scanned.frame.body))
        .collect()
}
