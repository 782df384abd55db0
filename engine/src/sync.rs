//! What [`crate::group_commit`] waits and wakes with. Its model puts shuttle's in the place of
//! these and tries the orders in which threads may run.

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

/// Waits for a thread without holding up the runtime. Its panic, if any, is dropped.
pub(crate) async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
}

/// A short time in which a thread looks for something again and again, and lets others go first.
pub(crate) struct Patience(Option<Instant>);

impl Patience {
    /// So long from now on.
    pub(crate) fn of(time: Duration) -> Self {
        Self((!time.is_zero()).then(|| Instant::now() + time))
    }

    /// Whether it is over; others went first where it is not.
    pub(crate) fn is_over(&mut self) -> bool {
        let over = self.0.is_none_or(|end| Instant::now() >= end);
        if !over {
            std::thread::yield_now();
        }
        over
    }
}

/// More than so many are told from within the runtime.
pub(crate) const FEW: usize = 8;

/// The runtime, for what costs less there.
pub(crate) struct Elsewhere(Option<Handle>);

impl Elsewhere {
    /// The one that this is called in, if its tasks run whatever becomes of their neighbours.
    pub(crate) fn here() -> Self {
        let handle = Handle::try_current().ok();
        Self(handle.filter(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread))
    }

    /// Drops a value there; here, where there is no runtime any more.
    pub(crate) fn drop<T: Send + 'static>(&self, value: T) {
        match &self.0 {
            // The task is dropped, and the value with it, where it cannot run.
            Some(handle) => drop(handle.spawn(async move { drop(value) })),
            None => drop(value),
        }
    }
}
