//! The thread that takes what is durable in the tail over into sled, and syncs sled.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use super::{JournalError, Offset, sled_store::changes, stage::Batch};
use crate::{durable::Durable, group_commit::Failure};

/// Batches that may wait; beyond, the writer waits.
const QUEUE: usize = 64;

/// What the thread is told.
enum Work {
    Take(Box<Batch>),
    /// Sync everything taken so far.
    Sync,
}

/// How far sled has come; shared with readers and the writer.
#[derive(Clone)]
pub(super) struct Progress(Arc<(Mutex<State>, Condvar)>);

struct State {
    /// Sled holds everything before it.
    taken: Offset,
    syncs: u64,
    error: Option<JournalError>,
}

impl Progress {
    pub(super) fn new(taken: Offset) -> Self {
        let state = State {
            taken,
            syncs: 0,
            error: None,
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn update(&self, update: impl FnOnce(&mut State)) {
        update(&mut self.lock());
        self.0.1.notify_all();
    }

    fn wait(&self, until: impl Fn(&State) -> bool) -> Result<(), JournalError> {
        let waits = |state: &mut State| state.error.is_none() && !until(state);
        let waited = self.0.1.wait_while(self.lock(), waits);
        let state = waited.unwrap_or_else(PoisonError::into_inner);
        state.error.clone().map_or(Ok(()), Err)
    }

    /// Waits until sled holds everything before `next`. Blocks.
    pub(super) fn wait_taken(&self, next: Offset) -> Result<(), JournalError> {
        self.wait(|state| state.taken >= next)
    }
}

/// The thread. Dropping it lets it finish what waits, sync, and end.
pub(super) struct Applier {
    work: Option<SyncSender<Work>>,
    thread: Option<JoinHandle<()>>,
    progress: Progress,
    asked: u64,
}

impl Applier {
    pub(super) fn start(
        durable: Durable,
        progress: Progress,
        failure: Failure,
    ) -> std::io::Result<Self> {
        let (work, waiting) = sync_channel(QUEUE);
        let shared = progress.clone();
        let thread = std::thread::Builder::new()
            .name("journal-applier".to_owned())
            .spawn(move || {
                let alarm = Alarm {
                    progress: shared,
                    failure,
                };
                if let Err(error) = run(&durable, &waiting, &alarm.progress) {
                    alarm.ring(&error);
                }
            })?;
        Ok(Self {
            work: Some(work),
            thread: Some(thread),
            progress,
            asked: 0,
        })
    }

    fn send(&self, work: Work) -> Result<(), JournalError> {
        let sent = self.work.as_ref().map(|queue| queue.send(work));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => self.progress.wait(|_| false),
        }
    }

    /// Has a batch taken over.
    pub(super) fn take(&self, batch: Batch) -> Result<(), JournalError> {
        self.send(Work::Take(Box::new(batch)))
    }

    /// Has sled synced, and waits until it has been for all but the newest such demand.
    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        let before = self.asked;
        self.asked = self.asked.saturating_add(1);
        self.send(Work::Sync)?;
        self.progress.wait(|state| state.syncs >= before)
    }

    /// Waits until nothing waits to be taken over.
    pub(super) fn wait_taken(&self, next: Offset) -> Result<(), JournalError> {
        self.progress.wait_taken(next)
    }
}

impl Drop for Applier {
    fn drop(&mut self) {
        drop(self.work.take());
        // A panic is known through the alarm already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Tells everybody that the thread ended before it should, also by a panic.
struct Alarm {
    progress: Progress,
    failure: Failure,
}

impl Alarm {
    fn ring(&self, error: &JournalError) {
        self.failure.set(error);
        self.progress.update(|state| {
            state.error.get_or_insert_with(|| error.clone());
        });
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.ring(&JournalError::Storage("sled panicked".to_owned()));
        }
    }
}

fn run(
    durable: &Durable,
    waiting: &Receiver<Work>,
    progress: &Progress,
) -> Result<(), JournalError> {
    while let Ok(work) = waiting.recv() {
        match work {
            Work::Take(batch) => {
                durable.apply(changes(&batch))?;
                progress.update(|state| state.taken = batch.tip.next);
            }
            Work::Sync => {
                durable.sync()?;
                progress.update(|state| state.syncs = state.syncs.saturating_add(1));
            }
        }
    }
    durable.sync()
}
