//! Two slots for values in each checkpoint file, written alternately.
//!
//! A crash in the middle of overwriting a value may lose it. So only the older value is ever
//! overwritten, never the newest. The length of the file does not change, so a sync of it writes
//! nothing else.

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

/// Bytes of a slot: whole blocks of any file system, so that no write touches both slots, and more
/// than the longest value ([`RECORD_MAX`](crate::journal::RECORD_MAX)) needs together with its
/// name.
pub(super) const SLOT: usize = 8 * 1024;

/// The checkpoint file of one node of a run.
pub(super) struct SlotsOf<'a> {
    pub(super) path: &'a Path,
    pub(super) run: RunId,
    pub(super) node: &'a Name,
}

impl SlotsOf<'_> {
    /// The newest complete value, and its sequence.
    pub(super) fn newest(&self) -> io::Result<Option<(u64, Vec<u8>)>> {
        match std::fs::read(self.path) {
            Ok(bytes) => Ok(self.newest_of(&bytes)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn newest_of(&self, bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
        let open_slot = |slot| envelope::open(self.run, self.node, slot);
        let (first, second) = bytes.split_at_checked(SLOT).unwrap_or((bytes, &[]));
        let newest = [open_slot(first), open_slot(second)].into_iter().flatten();
        newest.max_by_key(|(sequence, _)| *sequence)
    }

    /// Writes the value as the newest one; durable, except for the file's name. Returns its
    /// sequence and whether the file is new.
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
            let slot_start = if next.is_multiple_of(2) { 0 } else { SLOT };
            file.write_all_at(&sealed, slot_start as u64)?;
            file.sync_data()?;
            return Ok((next, false));
        }
        self.put_file(next, sealed)?;
        Ok((next, true))
    }

    /// The file, if it has both slots.
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
