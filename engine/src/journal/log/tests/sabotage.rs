//! Deliberate faults between the log and its disk, each of which the cuts have to find.

use std::{
    io,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use rand::{SeedableRng as _, rngs::StdRng};

use super::*;
use crate::journal::log::{
    disk::{DiskFile, read_all},
    frame, header,
    sim::Device,
    tests::{
        cuts::{RecordedRun, check_as, record_as},
        forged::{end_of, seal},
    },
};

/// A deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LogSabotage {
    /// Every fifth sync of content is skipped but reported as done.
    LeftOutSync,
    /// Every other frame is written only after the one that states it as synced.
    EarlyMarker,
    /// The checksum of a frame always counts as correct.
    TornFrameBelieved,
}

struct SabotagedLog {
    disk: SimDisk,
    what: LogSabotage,
}

fn left_out_sync(disk: &SimDisk) -> Arc<dyn LogDisk> {
    sabotaged(disk, LogSabotage::LeftOutSync)
}

fn early_marker(disk: &SimDisk) -> Arc<dyn LogDisk> {
    sabotaged(disk, LogSabotage::EarlyMarker)
}

fn torn_frame_believed(disk: &SimDisk) -> Arc<dyn LogDisk> {
    sabotaged(disk, LogSabotage::TornFrameBelieved)
}

fn sabotaged(disk: &SimDisk, what: LogSabotage) -> Arc<dyn LogDisk> {
    let disk = disk.clone();
    Arc::new(SabotagedLog { disk, what })
}

impl SabotagedLog {
    fn file(&self, inner: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(SabotagedFile {
            inner,
            what: self.what,
            syncs: AtomicUsize::new(0),
            withheld: Mutex::default(),
            put_right: Mutex::default(),
        })
    }
}

impl LogDisk for SabotagedLog {
    fn list(&self, folder: &str) -> io::Result<Vec<(String, u64)>> {
        self.disk.list(folder)
    }

    fn make_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.make_folder(folder)
    }

    fn open(&self, name: &str, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.disk.open(name, write)?))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(self.disk.create(name)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.link(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        self.disk.sync_folder(folder)
    }
}

struct SabotagedFile {
    inner: Arc<dyn DiskFile>,
    what: LogSabotage,
    syncs: AtomicUsize,
    /// A frame that is not written yet, and its place.
    withheld: Mutex<Option<(u64, Vec<u8>)>>,
    /// The content that is read instead of the real one, until the file is written to.
    put_right: Mutex<Option<Vec<u8>>>,
}

impl SabotagedFile {
    /// Reads with the withheld frame, because a process sees its own writes.
    fn read_with_withheld(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let read = self.inner.read_at(buffer, at)?;
        if let Some((place, frame)) = &*self.withheld.lock().unwrap() {
            let (from, to) = (
                (*place).max(at),
                (place + frame.len() as u64).min(at + read as u64),
            );
            if from < to {
                let index = |offset: u64| usize::try_from(offset).unwrap();
                let part = &frame[index(from - place)..index(to - place)];
                buffer[index(from - at)..index(to - at)].copy_from_slice(part);
            }
        }
        Ok(read)
    }
}

impl DiskFile for SabotagedFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        if self.what == LogSabotage::EarlyMarker {
            return self.read_with_withheld(buffer, at);
        }
        if self.what != LogSabotage::TornFrameBelieved {
            return self.inner.read_at(buffer, at);
        }
        let mut content = self.put_right.lock().unwrap();
        let whole = match content.take() {
            Some(whole) => whole,
            None => {
                let mut whole = read_all(&*self.inner)?;
                put_right(&mut whole);
                whole
            }
        };
        let whole = content.insert(whole);
        let there = whole
            .get(usize::try_from(at).unwrap()..)
            .unwrap_or_default();
        let len = there.len().min(buffer.len());
        buffer[..len].copy_from_slice(&there[..len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        *self.put_right.lock().unwrap() = None;
        if self.what != LogSabotage::EarlyMarker || !bytes.starts_with(MAGIC) {
            return self.inner.write_at(bytes, at);
        }
        let mut withheld = self.withheld.lock().unwrap();
        let Some((place, frame)) = withheld.take() else {
            *withheld = Some((at, bytes.to_vec()));
            return Ok(());
        };
        self.inner.write_at(bytes, at)?;
        self.inner.sync_data()?;
        self.inner.write_at(&frame, place)
    }

    fn size(&self) -> io::Result<u64> {
        self.inner.size()
    }

    fn sync_data(&self) -> io::Result<()> {
        let count = self.syncs.fetch_add(1, Ordering::Relaxed);
        match self.what {
            LogSabotage::LeftOutSync if count % 5 == 4 => Ok(()),
            LogSabotage::EarlyMarker if self.withheld.lock().unwrap().is_some() => Ok(()),
            _ => self.inner.sync_data(),
        }
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }
}

const MAGIC: &[u8] = b"VsFr";

/// Sets a correct checksum in everything that looks like a frame in a segment.
fn put_right(segment: &mut [u8]) {
    let Ok(header) = header::SegmentHeader::decode(segment) else {
        return;
    };
    let mut at = header::LEN;
    while at + frame::HEADER <= segment.len() {
        let end = at + end_of(&segment[at..]);
        if !segment[at..].starts_with(MAGIC) || end > segment.len() {
            at += frame::ALIGN;
            continue;
        }
        seal(&header, at, &mut segment[at..end]);
        at = end.next_multiple_of(frame::ALIGN);
    }
}

/// Cuts at every moment until a check fails; returns how many cuts that took.
///
/// The writes that a cut loses are random, and the writer's groups differ from run to run. So one cut
/// at each moment may miss a fault that needs a torn frame. Each moment is cut again with each seed.
fn found_by_cuts(wrap: Wrap, seeds: std::ops::Range<u64>) -> Option<(usize, String)> {
    let recorded = record_as(wrap, 100, 20, 8, 1);
    seeds
        .into_iter()
        .find_map(|seed| found_with(seed, wrap, &recorded))
}

fn found_with(seed: u64, wrap: Wrap, recorded: &RecordedRun) -> Option<(usize, String)> {
    let (mut rng, mut device) = (StdRng::seed_from_u64(seed), Device::default());
    for (tries, op) in recorded.ops.iter().enumerate() {
        device.play(op);
        let image = device.cut(&mut rng);
        if let Err(why) = check_as(wrap, image, device.marked, recorded) {
            return Some((tries, why));
        }
    }
    None
}

#[track_caller]
fn assert_found(wrap: Wrap, expected: &[&str]) {
    let (tries, why) = found_by_cuts(wrap, 1..33).expect("the cuts find nothing");
    println!("found after {tries} cuts: {why}");
    let is_expected = expected.iter().any(|expected| why.contains(expected));
    assert!(is_expected, "{why}");
}

#[test]
fn a_sync_that_is_left_out_is_found_by_the_cuts() {
    assert_found(left_out_sync, &["were acknowledged", "damaged"]);
}

#[test]
fn a_marker_that_is_written_before_its_pages_is_found_by_the_cuts() {
    assert_found(early_marker, &["were acknowledged", "damaged"]);
}

#[test]
fn a_torn_frame_that_is_believed_is_found_by_the_cuts() {
    assert_found(torn_frame_believed, &["damaged", "does not", "breaks"]);
}

#[test]
fn the_cuts_find_nothing_where_nothing_is_wrong() {
    assert_eq!(found_by_cuts(plain, 1..2), None);
}
