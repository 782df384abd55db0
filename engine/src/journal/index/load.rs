//! Opens the database of an index and reads its states.
//!
//! Sled may fail, panic or hang on damaged files. So only [`super::open`] calls this, in a thread
//! that it can abandon.

use std::{
    fs::File,
    io,
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{
    Unusable,
    header::{self, IndexHeader},
    sum::Sums,
};
use crate::{
    journal::{States, StreamState, stored::states::decode_state},
    model::StreamId,
    parallel,
};

/// The first byte of the keys of states.
const STATE: u8 = b's';

/// The cache of sled, in bytes; its default is 1 GiB. It can be small, because every entry is read
/// once, in order.
const CACHE: u64 = 4 << 20;

/// How long to wait for a locked database.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// How many entries a reading thread takes at a time.
const PIECE: usize = 64;

/// An open index: its database, and the share of each of its states in the total sum.
pub(super) struct StateStore {
    pub(super) db: sled::Db,
    pub(super) sums: Sums,
}

/// The key of a stream's state.
pub(super) fn key(stream: &StreamId) -> Vec<u8> {
    let mut key = vec![STATE];
    key.extend_from_slice(stream.to_string().as_bytes());
    key
}

/// Creates an empty index.
pub(super) fn make(dir: &Path) -> Result<StateStore, Unusable> {
    let db = open(dir)?;
    let sums = Sums::default();
    Ok(StateStore { db, sums })
}

/// Opens an index and reads its states, if they were written in this boot of the machine and match
/// their sum.
pub(super) fn load(dir: &Path, boot_id: &str) -> Result<(StateStore, States), Unusable> {
    let db = open(dir)?;
    let header = match db.get(header::KEY)? {
        Some(bytes) => header::FoundHeader::parse(&bytes, boot_id)?,
        None if db.scan_prefix([STATE]).next().is_none() => return Err(Unusable::Absent),
        None => return Err(Unusable::Unfinished),
    };
    let (sums, streams) = read(&db)?;
    let IndexHeader { as_of, link, .. } = header.verify(&sums)?;
    let states = States {
        as_of,
        link,
        streams,
    };
    Ok((StateStore { db, sums }, states))
}

/// The states of an index, even if the machine has restarted since they were written. Their sum
/// shows whether they are undamaged; the caller compares them with the log.
pub(super) fn peek(dir: &Path) -> Result<States, Unusable> {
    let header = open(dir)?.get(header::KEY)?;
    let written_in = header.and_then(|bytes| header::written_in(&bytes));
    let boot_id = written_in.ok_or(Unusable::Unfinished)?;
    load(dir, &boot_id).map(|(_, states)| states)
}

/// Syncs every file of an index through a new descriptor. That reports an error of an earlier write
/// which the kernel has not reported yet.
pub(super) fn sync_all(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            sync_all(&path)?;
        } else {
            File::open(&path)?.sync_all()?;
        }
    }
    Ok(())
}

fn open(dir: &Path) -> Result<sled::Db, Unusable> {
    remove_unfinished_snapshots(dir)?;
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE)
        .flush_every_ms(None);
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        match config.open() {
            // A thread of sled may hold the lock a little longer than its database exists.
            Err(sled::Error::Io(e)) if is_locked(&e) => {
                if Instant::now() >= until {
                    return Err(Unusable::InUse);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return Ok(opened?),
        }
    }
}

/// sled's `Config::try_lock` makes every failure to lock an error of the kind `Other`, and keeps the
/// system's error only in this text.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().starts_with("could not acquire lock")
}

/// Removes snapshots that were being written when the process was killed: with them sled refuses to
/// open (sled#1527). Sled writes new ones.
fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|ending| ending == "generating")
        {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

type StatePart = Result<(Sums, Vec<StreamState>), Unusable>;

/// Every state, read by several threads, because decoding takes longer than reading.
fn read(db: &sled::Db) -> StatePart {
    let entries = Mutex::new(db.scan_prefix([STATE]));
    let (mut sums, mut states) = (Sums::default(), Vec::new());
    for part in parallel::share(usize::MAX, || read_part(&entries)) {
        let (some_sums, some) = part?;
        sums.join(some_sums);
        states.extend(some);
    }
    Ok((sums, states))
}

fn read_part(entries: &Mutex<sled::Iter>) -> StatePart {
    let (mut sums, mut states) = (Sums::default(), Vec::new());
    loop {
        let piece = next_piece(entries)?;
        if piece.is_empty() {
            return Ok((sums, states));
        }
        for (key, value) in piece {
            sums.set(&key, Some(&value));
            states.push(decode_state(&value)?);
        }
    }
}

fn next_piece(entries: &Mutex<sled::Iter>) -> sled::Result<Vec<(sled::IVec, sled::IVec)>> {
    let mut entries = entries.lock().unwrap_or_else(PoisonError::into_inner);
    entries.by_ref().take(PIECE).collect()
}
