//! Two places for values in a file, written in turn.
//!
//! A value that is overwritten in its place may be lost with a crash in the middle: so the newest one is
//! never overwritten, but the one before. The file keeps its length, so that a sync of it writes nothing else.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
};

use super::{envelope, temporary};
use crate::{
    files,
    model::{Name, RunId},
};

/// Bytes of a place: whole blocks of any file system, so that no write touches both, and more than the longest
/// value ([`RECORD_MAX`](crate::journal::RECORD_MAX)) with its name takes.
pub(super) const SLOT: usize = 8 * 1024;

/// Whose value it is.
pub(super) struct SlotsOf<'a> {
    pub(super) path: &'a Path,
    pub(super) run: RunId,
    pub(super) node: &'a Name,
}

impl SlotsOf<'_> {
    /// The newest value that is whole, and its sequence.
    pub(super) fn newest(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        match std::fs::read(self.path) {
            Ok(bytes) => Ok(self.newest_of(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn newest_of(&self, bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
        let open = |slot| envelope::open(self.run, self.node, slot);
        let (first, second) = bytes.split_at_checked(SLOT).unwrap_or((bytes, &[]));
        let newest = [open(first), open(second)].into_iter().flatten();
        newest.max_by_key(|(sequence, _)| *sequence)
    }

    /// Makes the value the newest one, durable but for its name; whether it has a file that is new.
    pub(super) fn put(&self, known: Option<u64>, value: &[u8]) -> io::Result<(u64, bool)> {
        let last = match known {
            Some(last) => Some(last),
            None => self.newest()?.map(|(last, _)| last),
        };
        let next = last.map_or(0, |last| last.saturating_add(1));
        let sealed = envelope::seal(self.run, self.node, next, value);
        if sealed.len() > SLOT {
            return Err(io::Error::other("a checkpoint is longer than its place"));
        }
        if last.is_some()
            && let Some(file) = self.slots()?
        {
            let at = if next.is_multiple_of(2) { 0 } else { SLOT };
            file.write_all_at(&sealed, at as u64)?;
            file.sync_data()?;
            return Ok((next, false));
        }
        self.put_file(next, sealed)?;
        Ok((next, true))
    }

    /// The file, where it has both places.
    fn slots(&self) -> io::Result<Option<File>> {
        let file = match OpenOptions::new().write(true).open(self.path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let is_whole = file.metadata()?.len() == 2 * SLOT as u64;
        Ok(is_whole.then_some(file))
    }

    fn put_file(&self, sequence: u64, mut sealed: Vec<u8>) -> io::Result<()> {
        if !sequence.is_multiple_of(2) {
            sealed.splice(..0, [0; SLOT]);
        }
        sealed.resize(2 * SLOT, 0);
        files::put(self.path, &temporary(self.path), &sealed)
    }
}
