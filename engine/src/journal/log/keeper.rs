//! The keeper thread: preallocates the file of the next segment and writes the tables of full
//! segments, so that no append waits for either.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

use super::{
    disk::{DiskFile, LogDisk},
    error::storage,
    segment::{Segment, write_table},
};
use crate::{journal::JournalError, permit::WritePermit};

/// The name of the preallocated file for the next segment.
pub(super) const NEXT: &str = "segment.next";
/// The temporary name of a table.
const TABLE: &str = "table.part";
/// The delay before another attempt, if the disk has no room.
const RETRY_DELAY: Duration = Duration::from_millis(200);
/// How many zeros are written at once.
const PIECE: u64 = 1 << 20;

/// A preallocated file for a segment: zeros, synced, with the name [`NEXT`].
pub(super) struct Spare {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
}

#[derive(Default)]
struct KeeperState {
    /// The size of the spare file that is requested and not made yet.
    requested: Option<u64>,
    spare: Option<Spare>,
    /// Full segments whose tables are not on the disk.
    full: Vec<Arc<Segment>>,
    closing: bool,
}

type SharedState = Arc<(Mutex<KeeperState>, Condvar)>;

/// The keeper thread. Dropping it ends the thread.
pub(super) struct Keeper {
    shared: SharedState,
    permit: WritePermit,
    thread: Option<JoinHandle<()>>,
}

fn lock(shared: &SharedState) -> MutexGuard<'_, KeeperState> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    pub(super) fn start(disk: Arc<dyn LogDisk>, permit: WritePermit) -> io::Result<Self> {
        let shared = SharedState::default();
        let (own, write_permit) = (shared.clone(), permit.clone());
        let thread = std::thread::Builder::new()
            .name("log-keeper".to_owned())
            .spawn(move || run(&*disk, &own, &write_permit))?;
        Ok(Self {
            shared,
            permit,
            thread: Some(thread),
        })
    }

    /// Requests a spare file of at least that size, if there is none.
    pub(super) fn prepare(&self, size: u64) {
        let mut state = lock(&self.shared);
        let has = state
            .spare
            .as_ref()
            .map(|spare| spare.size)
            .or(state.requested);
        if has.is_none_or(|has| has < size) {
            state.spare = None;
            state.requested = Some(size);
            self.shared.1.notify_all();
        }
    }

    /// Takes the spare file; waits until there is one. Blocks.
    ///
    /// # Errors
    /// If the journal is being closed and there is none.
    pub(super) fn take(&self, size: u64) -> Result<Spare, JournalError> {
        loop {
            self.prepare(size);
            let state = lock(&self.shared);
            let waits = |keeper: &mut KeeperState| keeper.spare.is_none() && !keeper.closing;
            let waited = self.shared.1.wait_timeout_while(state, RETRY_DELAY, waits);
            let (mut woken, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if let Some(spare) = woken.spare.take() {
                return Ok(spare);
            }
            if woken.closing || self.permit.is_closing() {
                let full = io::Error::from(io::ErrorKind::StorageFull);
                return Err(storage(NEXT, &full));
            }
        }
    }

    /// Extends a file with zeros; durable when it returns. Waits while the disk is full. Blocks.
    pub(super) fn widen(&self, file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
        loop {
            let widened = zeros(file, from, to).and_then(|()| file.sync_all());
            let short = widened.as_ref().err().is_some_and(is_full);
            self.permit.log_is_short(short);
            if !short || self.permit.is_closing() {
                return widened;
            }
            std::thread::sleep(RETRY_DELAY);
        }
    }

    /// Requests that a full segment's table is written to the disk.
    pub(super) fn full(&self, segment: Arc<Segment>) {
        lock(&self.shared).full.push(segment);
        self.shared.1.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        lock(&self.shared).closing = true;
        self.shared.1.notify_all();
        // A panic of the thread loses only a table or the spare file, which are made again.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(disk: &dyn LogDisk, shared: &SharedState, permit: &WritePermit) {
    while let Some((requested, full)) = next(shared) {
        for segment in full {
            write_down(disk, &segment);
        }
        if let Some(size) = requested {
            set_aside(disk, shared, permit, size);
        }
    }
}

/// Waits for work: the size of a requested spare file, and full segments. None at the end.
fn next(shared: &SharedState) -> Option<(Option<u64>, Vec<Arc<Segment>>)> {
    let idle = |state: &mut KeeperState| {
        !state.closing && state.requested.is_none() && state.full.is_empty()
    };
    let waited = shared.1.wait_while(lock(shared), idle);
    let mut state = waited.unwrap_or_else(PoisonError::into_inner);
    let full = std::mem::take(&mut state.full);
    if state.closing && full.is_empty() {
        return None;
    }
    Some((state.requested.filter(|_| !state.closing), full))
}

fn write_down(disk: &dyn LogDisk, segment: &Segment) {
    let is_moved = segment.is_moved();
    if *is_moved {
        return;
    }
    let Some(table) = segment.finish() else {
        return;
    };
    match write_table(disk, segment, TABLE, &table) {
        Ok(()) => segment.forget_table(),
        // A missing table is made again from the segment.
        Err(error) => tracing::warn!(%error, segment = segment.name, "its table was not written"),
    }
}

fn set_aside(disk: &dyn LogDisk, shared: &SharedState, permit: &WritePermit, size: u64) {
    match make(disk, size) {
        Ok(file) => {
            let mut state = lock(shared);
            if state.requested == Some(size) {
                (state.requested, state.spare) = (None, Some(Spare { file, size }));
            }
            shared.1.notify_all();
            permit.log_is_short(false);
        }
        Err(error) => {
            tracing::warn!(%error, "no room could be set aside for the log");
            permit.log_is_short(true);
            // Frees the room of the incomplete file, which others may need now.
            let _ = disk.remove(NEXT);
            let state = lock(shared);
            let _ = shared
                .1
                .wait_timeout_while(state, RETRY_DELAY, |state| !state.closing);
        }
    }
}

/// Creates the file [`NEXT`], filled with zeros; durable when it returns.
pub(super) fn make(disk: &dyn LogDisk, size: u64) -> io::Result<Arc<dyn DiskFile>> {
    disk.remove(NEXT)?;
    let file = disk.create(NEXT)?;
    zeros(&*file, 0, size)?;
    file.sync_all()?;
    disk.sync_folder("")?;
    Ok(file)
}

fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}

fn zeros(file: &dyn DiskFile, mut at: u64, end: u64) -> io::Result<()> {
    let length = |from: u64| usize::try_from(PIECE.min(end.saturating_sub(from)));
    let zeros = vec![0; length(at).unwrap_or_default()];
    while at < end {
        let piece = length(at).unwrap_or_default();
        file.write_at(zeros.get(..piece).unwrap_or_default(), at)?;
        at = at.saturating_add(piece as u64);
    }
    Ok(())
}
