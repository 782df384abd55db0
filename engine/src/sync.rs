//! The synchronisation primitives of [`crate::group_commit`]. Its model replaces them with those of
//! shuttle and tries the orders in which threads may run.

use std::time::{Duration, Instant};

pub(crate) use std::{
    sync::{
        Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{Builder, JoinHandle},
};

use tokio::runtime::{Handle, RuntimeFlavor};
pub(crate) use tokio::sync::{Semaphore, oneshot, watch};

/// Waits for a thread without blocking the runtime. Its panic, if any, is dropped.
pub(crate) async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
}

/// A short time in which a thread polls for something and yields to other threads.
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    /// Starts now and lasts for `time`.
    pub(crate) fn of(time: Duration) -> Self {
        Self((!time.is_zero()).then(|| Instant::now() + time))
    }

    /// Whether the time is over; if not, yields to other threads first.
    pub(crate) fn is_over(&mut self) -> bool {
        let is_over = self.0.is_none_or(|end| Instant::now() >= end);
        if !is_over {
            std::thread::yield_now();
        }
        is_over
    }
}

/// Groups with more answers than this are dropped in the runtime; see [`Elsewhere`].
pub(crate) const FEW: usize = 8;

/// The runtime, in which waking many tasks is cheaper than from another thread.
pub(crate) struct Elsewhere(Option<Handle>);

impl Elsewhere {
    /// The current runtime, if it has several threads, so that its tasks run even if another one
    /// blocks.
    pub(crate) fn here() -> Self {
        let handle = Handle::try_current().ok();
        Self(handle.filter(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread))
    }

    /// Drops a value in the runtime; in this thread if there is no runtime.
    pub(crate) fn drop<T: Send + 'static>(&self, value: T) {
        match &self.0 {
            // If the task cannot run, it is dropped, and the value with it.
            Some(handle) => drop(handle.spawn(async move { drop(value) })),
            None => drop(value),
        }
    }
}
