//! Makes the end of the newest segment durable and clean, before anything is appended to it.

use std::{io, sync::Arc};

use super::{
    FOLDER,
    disk::{DiskFile, LogDisk},
    error::storage,
    scan::Scan,
    segment::Segment,
    writer::WriterEnd,
};
use crate::journal::JournalError;

/// Settles the end of the newest segment: whole frames that may not have reached the disk are written
/// again, a torn frame is zeroed, and both are synced.
pub(super) fn settle(
    disk: &dyn LogDisk,
    segment: Segment,
    scan: Scan,
) -> Result<WriterEnd, JournalError> {
    let name = segment.name.clone();
    let failed = |e: io::Error| storage(&name, &e);
    let end = usize::try_from(scan.table.end).unwrap_or(usize::MAX);
    let bytes = segment.read(0, usize::try_from(segment.size()).unwrap_or(usize::MAX))?;
    let file = disk.open(&name, true).map_err(failed)?;
    let unsure = bytes.get(scan.unsure..end).unwrap_or_default();
    if scan.torn {
        tracing::warn!(
            segment = name,
            "a write that was never acknowledged is cut off"
        );
        zero(&*file, &bytes, end).map_err(failed)?;
    }
    file.write_at(unsure, scan.unsure as u64).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    disk.sync_folder(FOLDER).map_err(failed)?;
    let size = segment.size();
    let segment = Segment::growing(segment.header, name.clone(), size, file.clone(), scan.table);
    Ok(WriterEnd {
        segment: Arc::new(segment),
        file,
        at: end,
    })
}

/// Zeroes all bytes after the last frame.
fn zero(file: &dyn DiskFile, bytes: &[u8], end: usize) -> io::Result<()> {
    let rest = bytes.get(end..).unwrap_or_default();
    let used = rest
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last.saturating_add(1));
    file.write_at(&vec![0; used], end as u64)
}
