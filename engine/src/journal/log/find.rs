//! Finds the segments of a log, in its folder and in the archive.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    FOLDER,
    disk::LogDisk,
    error::{damaged, storage},
    header::SegmentHeader,
    segment::{SegmentSource, first_of, is_table, name_of, read_header},
};
use crate::journal::{JournalError, Offset, archive};

/// A segment's file whose header is valid.
pub(super) struct FoundLog {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) header: SegmentHeader,
    pub(super) source: Arc<dyn SegmentSource>,
    pub(super) archived: bool,
}

/// The readable segments, and the errors of the unreadable ones, by their first offsets.
pub(super) type All = (BTreeMap<Offset, FoundLog>, BTreeMap<Offset, JournalError>);

/// Finds every segment. One that is both in the log and in the archive was being archived: the file
/// in the log is used.
pub(super) fn find(disk: &dyn LogDisk) -> Result<All, JournalError> {
    let (mut good, mut bad) = (BTreeMap::new(), BTreeMap::new());
    for folder in [archive::FOLDER, FOLDER] {
        for (file, size) in disk.list(folder).map_err(|e| storage(folder, &e))? {
            let Some(first) = first_of(&file) else {
                if !is_table(&file) {
                    tracing::warn!(
                        folder,
                        file,
                        "it is neither a segment nor a table: it is ignored"
                    );
                }
                continue;
            };
            match find_in(disk, folder, first, size) {
                Ok(segment) => {
                    bad.remove(&first);
                    good.insert(first, segment);
                }
                Err(error) if error.is_damage() && !good.contains_key(&first) => {
                    bad.insert(first, error);
                }
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok((good, bad))
}

fn find_in(
    disk: &dyn LogDisk,
    folder: &str,
    first: Offset,
    size: u64,
) -> Result<FoundLog, JournalError> {
    let name = name_of(folder, first);
    let archived = folder == archive::FOLDER;
    let (source, size): (Arc<dyn SegmentSource>, u64) = if archived {
        let packed = archive::PackedSegment::open(disk, &name)?;
        let packed_size = packed.len();
        (Arc::new(packed), packed_size)
    } else {
        let file = disk.open(&name, false).map_err(|e| storage(&name, &e))?;
        (Arc::new(file), size)
    };
    let header = checked_header(&name, first, &*source)?;
    Ok(FoundLog {
        name,
        size,
        header,
        source,
        archived,
    })
}

fn checked_header(
    name: &str,
    first: Offset,
    source: &dyn SegmentSource,
) -> Result<SegmentHeader, JournalError> {
    let header = read_header(name, source)?;
    if header.first == first {
        return Ok(header);
    }
    Err(damaged(
        name,
        format!("it is the segment of offset {}", header.first),
    ))
}
