//! Moves a full segment from the log into the archive.

use std::{io, sync::Arc};

use super::{
    FOLDER,
    packed::{PackedSegment, write},
};
use crate::journal::{
    JournalError,
    log::{self, DiskFile, LogShared, Segment, SegmentSource as _},
};

/// The temporary name of a compressed segment.
const PART: &str = "archive.part";

/// Compresses a full segment into the archive and removes it from the log. Blocks.
///
/// After a crash the segment is in the log, in both places, or in the archive.
///
/// # Errors
/// When the archive cannot be written, or its content differs when it is read back. The log is
/// unchanged, unless removing the segment from it failed.
pub(in crate::journal) fn retire(
    shared: &LogShared,
    segment: &Segment,
) -> Result<(), JournalError> {
    let bytes = shared.content(segment)?;
    let name = format!("{FOLDER}/{}", segment.file_name());
    let failed = |e: io::Error| JournalError::Storage(format!("{name}: {e}"));
    let disk = shared.disk();
    disk.make_folder(FOLDER).map_err(failed)?;
    disk.remove(PART).map_err(failed)?;
    let file: Arc<dyn DiskFile> = disk.create(PART).map_err(failed)?;
    write(&*file, &bytes).map_err(failed)?;
    file.sync_all().map_err(failed)?;
    disk.sync_folder("").map_err(failed)?;
    drop(file);
    let packed = PackedSegment::open(disk, PART)?;
    let mut back = vec![0; bytes.len()];
    let bytes_read = packed.read_at(&mut back, 0).map_err(failed)?;
    if bytes_read != bytes.len() || back != bytes || packed.len() != bytes.len() as u64 {
        let why = "it reads back differently than it was written".to_owned();
        return Err(JournalError::Storage(format!("{name}: {why}")));
    }
    disk.rename(PART, &name).map_err(failed)?;
    disk.sync_folder(FOLDER).map_err(failed)?;
    disk.sync_folder("").map_err(failed)?;
    let retired = PackedSegment::open(disk, &name)?;
    log::moved(
        shared,
        segment,
        name.clone(),
        Arc::new(retired),
        bytes.len() as u64,
    )
}
