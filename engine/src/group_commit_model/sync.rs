//! The synchronization primitives of the group commit, under shuttle's scheduler.
//!
//! Tokio's channels are tested by their authors under loom. Here each of their operations counts
//! as one step, and the scheduler may switch threads before each.

use std::cell::Cell;

pub(crate) use shuttle::{
    sync::{
        Condvar, Mutex, MutexGuard,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{Builder, JoinHandle},
};
pub(crate) use std::sync::PoisonError;

/// A defect that a test introduces on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Nothing.
    None,
    /// Requests are answered before they are committed.
    AnswerEarly,
    /// A request overtakes the one before it in its group.
    Overtake,
    /// A request that should be alone is not: others are admitted before it is written.
    NotAlone,
    /// A failure is not remembered.
    ForgetFailure,
    /// Callers whose request failed get no answer and wait forever.
    Silence,
    /// Closing does not wait for the thread.
    LeaveThread,
}

thread_local! {
    /// A thread-local is enough: the scheduler runs everything on the thread of the test.
    static SABOTAGE: Cell<Sabotage> = const { Cell::new(Sabotage::None) };
}

/// Introduces a defect into everything that runs later on this thread.
pub(crate) fn break_on_purpose(what: Sabotage) {
    SABOTAGE.set(what);
}

/// Whether this defect was introduced.
pub(crate) fn is_broken(what: Sabotage) -> bool {
    SABOTAGE.get() == what
}

/// A point where the scheduler may switch to another thread.
pub(crate) fn step() {
    use shuttle::sync::atomic::{AtomicBool, Ordering};
    AtomicBool::new(false).load(Ordering::SeqCst);
}

/// How often a thread polls: once, for any time.
pub(crate) struct Patience {
    is_over: bool,
}

impl Patience {
    pub(crate) fn of(_: std::time::Duration) -> Self {
        Self { is_over: false }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        step();
        std::mem::replace(&mut self.is_over, true)
    }
}

/// Waits for a thread.
pub(crate) async fn join(thread: JoinHandle<()>) {
    if !is_broken(Sabotage::LeaveThread) {
        let _ = thread.join();
    }
}

/// The most answers that the writing thread sends itself. Two are a full group, so that the other
/// way is tested too.
pub(crate) const FEW: usize = 1;

/// Drops values, and so sends answers, in a task of the scheduler.
pub(crate) struct Elsewhere;

impl Elsewhere {
    pub(crate) fn here() -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as the other one has it")]
    pub(crate) fn drop<T: Send + 'static>(&self, value: T) {
        shuttle::future::spawn(async move { drop(value) });
    }
}

/// The room in a group. Tokio's semaphore works here: it wakes through wakers, which shuttle's
/// executor supports.
pub(crate) struct Semaphore(tokio::sync::Semaphore);

impl Semaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self(tokio::sync::Semaphore::new(permits))
    }

    pub(crate) async fn acquire_many(
        &self,
        permits: u32,
    ) -> Result<tokio::sync::SemaphorePermit<'_>, tokio::sync::AcquireError> {
        step();
        let permit = self.0.acquire_many(permits).await;
        step();
        permit
    }

    pub(crate) fn add_permits(&self, permits: usize) {
        step();
        self.0.add_permits(permits);
    }

    pub(crate) fn close(&self) {
        step();
        self.0.close();
    }
}

/// The channel for the answer to a request.
pub(crate) mod oneshot {
    use tokio::sync::oneshot;
    pub(crate) use tokio::sync::oneshot::Receiver;

    use super::{Sabotage, is_broken, step};

    pub(crate) struct Sender<T>(oneshot::Sender<T>);

    pub(crate) fn channel<T>() -> (Sender<T>, Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Sender(sender), receiver)
    }

    impl<T, E> Sender<Result<T, E>> {
        pub(crate) fn send(self, answer: Result<T, E>) -> Result<(), Result<T, E>> {
            step();
            if answer.is_err() && is_broken(Sabotage::Silence) {
                std::mem::forget(self.0);
                return Ok(());
            }
            self.0.send(answer)
        }
    }
}

/// The channel for the failure that ended all writing.
pub(crate) mod watch {
    use tokio::sync::watch;
    pub(crate) use tokio::sync::watch::{Receiver, Ref};

    use super::{Sabotage, is_broken, step};

    pub(crate) struct Sender<T>(watch::Sender<T>);

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            Self(self.0.clone())
        }
    }

    impl<T> Sender<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(watch::Sender::new(value))
        }

        pub(crate) fn borrow(&self) -> Ref<'_, T> {
            step();
            self.0.borrow()
        }

        pub(crate) fn send_if_modified(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
            step();
            !is_broken(Sabotage::ForgetFailure) && self.0.send_if_modified(modify)
        }

        pub(crate) fn subscribe(&self) -> Receiver<T> {
            self.0.subscribe()
        }
    }
}
