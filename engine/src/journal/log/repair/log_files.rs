//! The files of a log, whole or damaged.

use std::{collections::BTreeMap, io, sync::Arc};

use super::super::{
    FOLDER,
    disk::{DiskFile, LogDisk, read_all},
    error::storage,
    header::SegmentHeader,
    segment::{SegmentSource, first_of, is_table, name_of, read_header, read_table},
    table::SegmentTable,
};
use crate::journal::{JournalError, Offset, archive};

/// How many bytes of a segment are read at once: a block of an archived one.
const PIECE: usize = 128 << 10;

/// One file of a segment, in the log or in the archive.
pub(super) struct SegmentFile {
    /// Its name, with folder.
    pub(super) name: String,
    /// Its header, or why the header is not valid.
    pub(super) header: Result<SegmentHeader, String>,
}

/// The files of the segment that begins with an offset.
#[derive(Default)]
pub(super) struct SegmentFiles {
    pub(super) log: Option<SegmentFile>,
    pub(super) archive: Option<SegmentFile>,
    /// Its tables that are not damaged.
    tables: Vec<SegmentTable>,
}

/// Every segment of which a file or a table exists.
pub(super) fn find(disk: &dyn LogDisk) -> Result<BTreeMap<Offset, SegmentFiles>, JournalError> {
    let mut segments: BTreeMap<Offset, SegmentFiles> = BTreeMap::new();
    for folder in [archive::FOLDER, FOLDER] {
        for (file, _) in disk.list(folder).map_err(|e| storage(folder, &e))? {
            let table = file.strip_suffix(".table").filter(|_| is_table(&file));
            let Some(first) = first_of(table.unwrap_or(&file)) else {
                continue;
            };
            let files = segments.entry(first).or_default();
            if table.is_some() {
                files
                    .tables
                    .extend(read_table(disk, &format!("{folder}/{file}")));
                continue;
            }
            let name = name_of(folder, first);
            let header = checked_header(disk, &name, first)?;
            let segment = Some(SegmentFile { name, header });
            match folder {
                FOLDER => files.log = segment,
                _ => files.archive = segment,
            }
        }
    }
    Ok(segments)
}

fn checked_header(
    disk: &dyn LogDisk,
    name: &str,
    first: Offset,
) -> Result<Result<SegmentHeader, String>, JournalError> {
    let header = source(disk, name).and_then(|(source, _)| read_header(name, &*source));
    match header {
        Ok(header) if header.first != first => {
            Ok(Err(format!("it is the segment of offset {}", header.first)))
        }
        Ok(header) => Ok(Ok(header)),
        Err(error) => match error.damage() {
            Some(damage) => Ok(Err(damage.why)),
            None => Err(error),
        },
    }
}

fn source(disk: &dyn LogDisk, name: &str) -> Result<(Arc<dyn SegmentSource>, u64), JournalError> {
    if name.starts_with(archive::FOLDER) {
        let packed = archive::PackedSegment::open(disk, name)?;
        let len = packed.len();
        return Ok((Arc::new(packed), len));
    }
    let failed = |e: io::Error| storage(name, &e);
    let file: Arc<dyn DiskFile> = disk.open(name, false).map_err(failed)?;
    let len = file.size().map_err(failed)?;
    Ok((Arc::new(file), len))
}

impl SegmentFile {
    /// Its content, with zeros for blocks of an archived file that cannot be unpacked.
    pub(super) fn bytes(&self, disk: &dyn LogDisk) -> Result<Vec<u8>, JournalError> {
        self.read(disk).map(|(bytes, _)| bytes)
    }

    /// Its content as from `bytes`, and whether a block could not be unpacked.
    pub(super) fn read(&self, disk: &dyn LogDisk) -> Result<(Vec<u8>, bool), JournalError> {
        let (source, len) = match source(disk, &self.name) {
            // An archived file without a valid index cannot be read at all.
            Err(error) if error.is_damage() => return Ok((Vec::new(), true)),
            found => found?,
        };
        let mut spoiled = false;
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        for (piece, start) in bytes.chunks_mut(PIECE).zip((0..).step_by(PIECE)) {
            match source.read_at(piece, start as u64) {
                Err(e) if e.kind() == io::ErrorKind::InvalidData => {
                    piece.fill(0);
                    spoiled = true;
                }
                result => drop(result.map_err(|e| storage(&self.name, &e))?),
            }
        }
        Ok((bytes, spoiled))
    }
}

impl SegmentFiles {
    /// The file to use: the first with a valid header, of the log and then of the archive.
    pub(super) fn good(&self) -> Option<(&SegmentFile, &SegmentHeader)> {
        let files = self.log.iter().chain(&self.archive);
        files
            .filter_map(|file| Some((file, file.header.as_ref().ok()?)))
            .next()
    }

    /// Whether there is a file of the segment, in the log or in the archive.
    pub(super) fn is_there(&self) -> bool {
        self.log.is_some() || self.archive.is_some()
    }

    /// Every file.
    pub(super) fn files(&self) -> impl Iterator<Item = &SegmentFile> {
        self.log.iter().chain(&self.archive)
    }

    /// The streams that have records between two places of the file, according to its tables.
    pub(super) fn streams(
        &self,
        from: u32,
        to: u32,
    ) -> impl Iterator<Item = crate::model::StreamId> {
        let within = move |place: &u32| (from..to).contains(place);
        let streams = self.tables.iter().flat_map(|table| &table.streams);
        let affected = streams.filter(move |(_, places)| places.at.iter().any(within));
        affected.map(|(stream, _)| stream.clone())
    }

    /// Whether a table exists, which shows that the segment was full and another one followed it.
    pub(super) fn was_full(&self) -> bool {
        !self.tables.is_empty()
    }
}

/// Reads a whole file; none if it does not exist.
pub(super) fn content(disk: &dyn LogDisk, name: &str) -> Result<Option<Vec<u8>>, JournalError> {
    match disk.open(name, false) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(storage(name, &e)),
        Ok(file) => read_all(&*file).map(Some).map_err(|e| storage(name, &e)),
    }
}
