//! Batches that may take the place of lost ones. One is believed by its link alone, which covers
//! the links of its records and, through them, every byte: a frame's checksum is not needed.

use super::super::{
    frame::{self, ALIGN, Body, HEADER, LINK},
    header::{self, SegmentHeader},
    scan::frames,
};
use crate::journal::{BatchLink, Offset, Stored};

/// Where something can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RepairSource {
    /// The damaged file: what is wrong with it lies beside the events.
    Segment,
    /// The archive.
    Archive,
    /// The backup or the export that was named.
    File,
}

/// A batch whose records are those that its link covers.
#[derive(Clone, Debug)]
pub(in crate::journal) struct FoundBatch {
    pub(super) link: BatchLink,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) source: RepairSource,
}

impl FoundBatch {
    /// A batch of a backup or an export, which was held against its link before.
    pub(in crate::journal) fn offered(link: BatchLink, records: Vec<Vec<u8>>) -> Self {
        let source = RepairSource::File;
        Self {
            link,
            records,
            source,
        }
    }

    /// What it takes in a frame.
    pub(super) fn frame_len(&self) -> usize {
        frame::batch_len(self.records.iter().map(Vec::len))
    }

    pub(super) fn next(&self) -> Offset {
        self.link.last.saturating_add(1)
    }

    /// The batch whose frame begins there, by its link.
    fn at(bytes: &[u8], at: usize, source: RepairSource) -> Option<Self> {
        let rest = bytes.get(at.checked_add(HEADER)?..)?;
        let (link, rest) = rest.split_first_chunk::<LINK>()?;
        Self::of(frame::link_of(link)?, rest, source)
    }

    /// The batch of that link, whose records are at the front of some bytes.
    fn of(link: BatchLink, bytes: &[u8], source: RepairSource) -> Option<Self> {
        let count = link.last.checked_sub(link.first)?.checked_add(1)?;
        // Each record takes some bytes: no more are believed than there is room for.
        let count = usize::try_from(count)
            .ok()
            .filter(|count| *count <= bytes.len())?;
        let (mut records, mut hashes) = (Vec::new(), Vec::new());
        for ((_, record), offset) in frame::records(bytes).take(count).zip(link.first..) {
            let stored = Stored::parse_at(offset, record.to_vec()).ok()?;
            hashes.push(stored.hash);
            records.push(stored.bytes);
        }
        let made = BatchLink::new(link.prev, link.first, link.last, &hashes);
        (records.len() == count && made == link).then_some(Self {
            link,
            records,
            source,
        })
    }
}

/// The batches whose frames follow one another from a place on, each right behind the one before,
/// and where they end.
pub(super) fn in_a_row(bytes: &[u8], mut at: usize) -> (Vec<FoundBatch>, usize) {
    let mut found = Vec::new();
    loop {
        if let Some(batch) = FoundBatch::at(bytes, at, RepairSource::Segment) {
            at = at.saturating_add(batch.frame_len());
            found.push(batch);
            continue;
        }
        // What is no batch says for itself how long it is.
        let rest = bytes.get(at..).unwrap_or_default();
        match frame::claimed_len(rest).filter(|len| *len <= rest.len()) {
            Some(len) => at = at.saturating_add(len),
            None => return (found, at),
        }
    }
}

/// The batches that begin anywhere in some bytes. Who writes what a record holds may have made
/// some of them: only those count that the chain names.
pub(super) fn anywhere(bytes: &[u8], from: usize, to: usize) -> Vec<FoundBatch> {
    let mut found = Vec::new();
    let mut at = from.next_multiple_of(ALIGN);
    while at < to.min(bytes.len()) {
        match FoundBatch::at(bytes, at, RepairSource::Segment) {
            Some(batch) => {
                at = at.saturating_add(batch.frame_len());
                found.push(batch);
            }
            None => at = at.saturating_add(ALIGN),
        }
    }
    found
}

/// The batches of another copy of a segment, whose frames are whole.
pub(super) fn of_copy(
    bytes: &[u8],
    header: &SegmentHeader,
    source: RepairSource,
) -> Vec<FoundBatch> {
    debug_assert!(header::LEN.is_multiple_of(ALIGN));
    let found = frames(bytes, header);
    let batch = |body: Body<'_>| match body {
        Body::Batch(link, records) => FoundBatch::of(link, records, source),
        _ => None,
    };
    found
        .into_iter()
        .filter_map(|found| batch(found.frame.body))
        .collect()
}
