//! The newest batches of a journal, in files that are only ever appended to.
//!
//! A batch is acknowledged once it is synced here. Sled takes it over afterwards and is synced
//! less often, since one sync of sled covers many batches and writes each of its pages once. The
//! files are used in turn: one is written over only when sled was synced twice after the newest
//! batch in it, so that whatever sled may lose of what it wrote since is still here.
//!
//! ```text
//! magic                          4 bytes
//! CRC32C of all that follows     4 bytes, big-endian
//! length of all that follows     4 bytes, big-endian
//! the batch's link: first and last offset, previous hash, hash
//! for each record: its length (4 bytes, big-endian), its bytes
//! ```
//!
//! Frames begin at multiples of [`ALIGN`], and whatever is not a frame is passed over: it is the
//! front of a write that nobody was told of, or the rest of an older use of the file. A frame
//! that is missing between two others is found by the chain of batches.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::{BatchLink, stage::Batch};
use crate::{durable::Sync, files, model::Hash};

const FILES: usize = 3;
/// What a file holds before the next one is taken; its room is set aside when it is made, so that
/// a sync has no length to write. Bounds what sled writes between two of its syncs.
pub(super) const ROOM: u64 = 128 * 1024;
const ALIGN: u64 = 16;
const MAGIC: [u8; 4] = *b"VsTa";
const HEADER: usize = 12;
const LINK: usize = 80;

/// A batch as it was found.
pub(super) struct Found {
    pub(super) link: BatchLink,
    pub(super) records: Vec<Vec<u8>>,
}

/// The files, and where the next batch goes.
pub(super) struct Tail {
    files: Vec<File>,
    current: usize,
    at: u64,
    sync: Sync,
    buffer: Vec<u8>,
}

fn path(dir: &Path, number: usize) -> PathBuf {
    dir.join(format!("tail.{number}"))
}

impl Tail {
    /// Opens the files in `dir`, or makes them, and gives the batches that are in them, the
    /// oldest first.
    pub(super) fn open(dir: &Path, sync: Sync) -> io::Result<(Self, Vec<Found>)> {
        let mut opened = Vec::with_capacity(FILES);
        let mut newest = Vec::with_capacity(FILES);
        let mut batches = Vec::new();
        for number in 0..FILES {
            let (file, content) = open(&path(dir, number))?;
            let found = scan(&content);
            newest.push(found.iter().map(|batch| batch.link.last).max());
            batches.extend(found);
            opened.push(file);
        }
        files::sync_dir(dir)?;
        batches.sort_by_key(|batch| batch.link.first);
        // The file whose batches are the oldest: the caller has synced sled since.
        let oldest = newest.iter().enumerate().min_by_key(|(_, last)| **last);
        let tail = Self {
            files: opened,
            current: oldest.map_or(0, |(number, _)| number),
            at: 0,
            sync,
            buffer: Vec::new(),
        };
        Ok((tail, batches))
    }

    /// Whether the batch belongs into the next file.
    pub(super) fn is_full_for(&self, batch: &Batch) -> bool {
        self.at > 0 && self.at.saturating_add(size(batch) as u64) > ROOM
    }

    /// Goes on to the next file and writes over what is in it.
    pub(super) fn turn(&mut self) {
        self.current = self.current.saturating_add(1) % FILES;
        self.at = 0;
    }

    /// Makes the next write ready.
    pub(super) fn prepare(&mut self, batch: &Batch) {
        encode(batch, &mut self.buffer);
    }

    /// Writes the batch that was made ready; durable when it returns.
    pub(super) fn append(&mut self) -> io::Result<()> {
        let file = self
            .files
            .get(self.current)
            .ok_or_else(|| io::Error::other("no tail file"))?;
        file.write_all_at(&self.buffer, self.at)?;
        (self.sync)(file)?;
        self.at = self.at.saturating_add(self.buffer.len() as u64);
        Ok(())
    }
}

/// A file of full length and its content.
fn open(path: &Path) -> io::Result<(File, Vec<u8>)> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let file = options.mode(0o600).open(path)?;
    let mut content = std::fs::read(path)?;
    let wanted = usize::try_from(ROOM).unwrap_or(usize::MAX);
    if content.len() < wanted {
        let missing = vec![0; wanted.saturating_sub(content.len())];
        file.write_all_at(&missing, content.len() as u64)?;
        file.sync_all()?;
        content.resize(wanted, 0);
    }
    Ok((file, content))
}

fn size(batch: &Batch) -> usize {
    let records = batch
        .records
        .iter()
        .map(|record| record.bytes.len().saturating_add(4));
    records.sum::<usize>().saturating_add(HEADER + LINK)
}

/// A batch as a frame whose length is a multiple of [`ALIGN`].
fn encode(batch: &Batch, frame: &mut Vec<u8>) {
    let BatchLink {
        first,
        last,
        prev,
        hash,
    } = batch.link;
    let length = u32::try_from(size(batch).saturating_sub(HEADER)).unwrap_or(u32::MAX);
    frame.clear();
    frame.extend_from_slice(&MAGIC);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(&length.to_be_bytes());
    for part in [
        &first.to_be_bytes()[..],
        &last.to_be_bytes(),
        &prev.0,
        &hash.0,
    ] {
        frame.extend_from_slice(part);
    }
    for record in &batch.records {
        let length = u32::try_from(record.bytes.len()).unwrap_or(u32::MAX);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&record.bytes);
    }
    let crc = frame.get(8..).map_or(0, crc32c::crc32c).to_be_bytes();
    if let Some(slot) = frame.get_mut(4..8) {
        slot.copy_from_slice(&crc);
    }
    let aligned = frame
        .len()
        .next_multiple_of(usize::try_from(ALIGN).unwrap_or(1));
    frame.resize(aligned, 0);
}

/// Every frame of a file.
fn scan(content: &[u8]) -> Vec<Found> {
    let align = usize::try_from(ALIGN).unwrap_or(1);
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(rest) = content.get(at..).filter(|rest| rest.len() >= HEADER) {
        at = match frame(rest) {
            Some((batch, len)) => {
                found.push(batch);
                at.saturating_add(len).next_multiple_of(align)
            }
            None => at.saturating_add(align),
        };
    }
    found
}

/// The frame at the front of some bytes, and its length.
fn frame(bytes: &[u8]) -> Option<(Found, usize)> {
    let rest = bytes.strip_prefix(&MAGIC)?;
    let (crc, covered) = rest.split_first_chunk::<4>()?;
    let (length, _) = covered.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let covered = covered.get(..length.checked_add(4)?)?;
    if crc32c::crc32c(covered) != u32::from_be_bytes(*crc) {
        return None;
    }
    let (link, records) = covered.get(4..)?.split_first_chunk::<LINK>()?;
    let found = Found {
        link: link_of(link)?,
        records: records_of(records)?,
    };
    Some((found, length.checked_add(HEADER)?))
}

fn link_of(bytes: &[u8; LINK]) -> Option<BatchLink> {
    let (first, rest) = bytes.split_first_chunk::<8>()?;
    let (last, rest) = rest.split_first_chunk::<8>()?;
    let (prev, rest) = rest.split_first_chunk::<32>()?;
    Some(BatchLink {
        first: u64::from_be_bytes(*first),
        last: u64::from_be_bytes(*last),
        prev: Hash(*prev),
        hash: Hash(rest.try_into().ok()?),
    })
}

fn records_of(mut bytes: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut records = Vec::new();
    while let Some((length, rest)) = bytes.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (record, rest) = rest.split_at_checked(length)?;
        records.push(record.to_vec());
        bytes = rest;
    }
    bytes.is_empty().then_some(records)
}

#[cfg(test)]
mod tests;
