//! The log's functions for the archive, which moves segments out of it.

use std::sync::Arc;

use super::{
    FOLDER,
    disk::LogDisk,
    error::storage,
    segment::{Segment, SegmentSource, write_table},
    shared::LogShared,
};
use crate::journal::{JournalError, Offset};

/// The temporary name of a table in the archive. It differs from the keeper's, which may write another
/// table at the same time.
const TABLE: &str = "archive.table.part";

impl Segment {
    /// The name without its folder.
    pub(in crate::journal) fn file_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// The offset of its first event.
    pub(in crate::journal) fn first(&self) -> Offset {
        self.header.first
    }

    /// Whether it is in the log itself.
    pub(in crate::journal) fn is_in_log(&self) -> bool {
        self.name.starts_with(FOLDER)
    }
}

impl LogShared {
    pub(in crate::journal) fn disk(&self) -> &dyn LogDisk {
        &*self.disk
    }

    /// Every full segment that is in the log, the oldest first.
    pub(in crate::journal) fn full_segments(&self) -> Vec<Arc<Segment>> {
        let mut segments = self.segments();
        segments.pop();
        segments.retain(|segment| segment.is_in_log());
        segments
    }

    /// The bytes of a segment up to the end of its frames.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] if one of its frames is damaged.
    pub(in crate::journal) fn content(&self, segment: &Segment) -> Result<Vec<u8>, JournalError> {
        let later = self.segments_from(segment.first().saturating_add(1));
        let next = later.iter().find(|later| later.first() > segment.first());
        let scan = segment.scan(next.map(|next| &next.header))?;
        if let Some((from, to)) = scan.table.damage.first() {
            let why = format!("offsets {from} to {} are damaged", to.saturating_sub(1));
            return Err(super::error::damaged(&segment.name, why));
        }
        let end = usize::try_from(scan.table.end).unwrap_or(usize::MAX);
        segment.read(0, end)
    }
}

/// Replaces a segment by its archived form, and removes it from the log.
pub(in crate::journal) fn moved(
    shared: &LogShared,
    segment: &Segment,
    name: String,
    source: Arc<dyn SegmentSource>,
    size: u64,
) -> Result<(), JournalError> {
    let table = shared.with_table(segment, |table| Ok(table.clone()))?;
    let moved = Segment::full(segment.header.clone(), name, size, source, None);
    let failed = |e: std::io::Error| storage(&moved.name, &e);
    write_table(&*shared.disk, &moved, TABLE, &table).map_err(failed)?;
    shared.replace_segment(Arc::new(moved));
    // Waits for the log's keeper, which may be writing the segment's table.
    let mut is_moved = segment.is_moved();
    *is_moved = true;
    let gone = [segment.name.clone(), segment.table_name()];
    for segment_name in &gone {
        shared
            .disk
            .remove(segment_name)
            .map_err(|e| storage(segment_name, &e))?;
    }
    shared
        .disk
        .sync_folder(FOLDER)
        .map_err(|e| storage(FOLDER, &e))
}
