//! The thread beside the writer: it sets room aside for the next segment and writes down the
//! tables of full ones, so that no append waits for either.

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
use crate::{journal::JournalError, permit::Permit};

/// The name of the room for the next segment.
pub(super) const NEXT: &str = "segment.next";
/// A table before it has its name.
const TABLE: &str = "table.part";
/// How often room is tried to be had again.
const AGAIN: Duration = Duration::from_millis(200);
/// Zeros are written in pieces of so many bytes.
const PIECE: u64 = 1 << 20;

/// Room for a segment: zeros, synced, under the name [`NEXT`].
pub(super) struct Spare {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) size: u64,
}

#[derive(Default)]
struct KeeperState {
    /// The size of the room that is wanted and not there.
    requested: Option<u64>,
    spare: Option<Spare>,
    /// Full segments whose tables are not on the disk.
    full: Vec<Arc<Segment>>,
    closing: bool,
}

type SharedState = Arc<(Mutex<KeeperState>, Condvar)>;

/// The thread. Dropping it ends it.
pub(super) struct Keeper {
    shared: SharedState,
    permit: Permit,
    thread: Option<JoinHandle<()>>,
}

fn lock(shared: &SharedState) -> MutexGuard<'_, KeeperState> {
    shared.0.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Keeper {
    pub(super) fn start(disk: Arc<dyn LogDisk>, permit: Permit) -> io::Result<Self> {
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

    /// Has room for a segment of at least that size set aside, if there is none.
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

    /// Takes the room; waits until there is some. Blocks.
    pub(super) fn take(&self, size: u64) -> Result<Spare, JournalError> {
        loop {
            self.prepare(size);
            let state = lock(&self.shared);
            let waits = |keeper: &mut KeeperState| keeper.spare.is_none() && !keeper.closing;
            let waited = self.shared.1.wait_timeout_while(state, AGAIN, waits);
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

    /// Writes zeros behind the end of a file; durable when it returns. Waits while the disk is
    /// full. Blocks.
    pub(super) fn widen(&self, file: &dyn DiskFile, from: u64, to: u64) -> io::Result<()> {
        loop {
            let widened = zeros(file, from, to).and_then(|()| file.sync_all());
            let short = widened.as_ref().err().is_some_and(is_full);
            self.permit.log_is_short(short);
            if !short || self.permit.is_closing() {
                return widened;
            }
            std::thread::sleep(AGAIN);
        }
    }

    /// Has a full segment's table written down.
    pub(super) fn full(&self, segment: Arc<Segment>) {
        lock(&self.shared).full.push(segment);
        self.shared.1.notify_all();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        lock(&self.shared).closing = true;
        self.shared.1.notify_all();
        // A panic there cost a table or room, which are made again.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn run(disk: &dyn LogDisk, shared: &SharedState, permit: &Permit) {
    while let Some((requested, full)) = next(shared) {
        for segment in full {
            write_down(disk, &segment);
        }
        if let Some(size) = requested {
            set_aside(disk, shared, permit, size);
        }
    }
}

/// What is to be done next; none once it is over.
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
    match write_table(disk, (segment, TABLE), &table) {
        Ok(()) => segment.forget_table(),
        // It is made again from the segment.
        Err(error) => tracing::warn!(%error, segment = segment.name, "its table was not written"),
    }
}

fn set_aside(disk: &dyn LogDisk, shared: &SharedState, permit: &Permit, size: u64) {
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
            // What was begun takes room that others may need now.
            let _ = disk.remove(NEXT);
            let state = lock(shared);
            let _ = shared
                .1
                .wait_timeout_while(state, AGAIN, |state| !state.closing);
        }
    }
}

/// Makes a file of zeros; durable when it returns.
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
