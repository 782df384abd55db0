//! What the group commit waits and wakes with, under shuttle's scheduler.
//!
//! Tokio's channels are tried by their authors under loom; here each of their operations counts
//! as one step, and the scheduler may go elsewhere before each.

use std::cell::Cell;

pub(crate) use shuttle::{
    sync::{Mutex, MutexGuard},
    thread::{Builder, JoinHandle},
};
pub(crate) use std::sync::PoisonError;

/// What is broken on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Nothing.
    None,
    /// Requests are answered before they are committed.
    AnswerEarly,
    /// A request overtakes the one before it in the queue.
    Overtake,
    /// A failure is not remembered.
    ForgetFailure,
    /// A failure is told to one, and the others wait for ever.
    Silence,
    /// Closing does not wait for the thread.
    LeaveThread,
}

thread_local! {
    /// The scheduler runs everything on the thread of the test.
    static SABOTAGE: Cell<Sabotage> = const { Cell::new(Sabotage::None) };
    /// Little room in the queue, so that callers have to wait for it.
    static ROOM: Cell<usize> = const { Cell::new(2) };
}

/// Queues that are made on this thread from now on have that much room.
pub(crate) fn give_room(room: usize) {
    ROOM.set(room);
}

/// Breaks something in all that follows on this thread.
pub(crate) fn break_on_purpose(what: Sabotage) {
    SABOTAGE.set(what);
}

/// Whether that is broken.
pub(crate) fn is_broken(what: Sabotage) -> bool {
    SABOTAGE.get() == what
}

/// Here another thread may go on.
pub(crate) fn step() {
    use shuttle::sync::atomic::{AtomicBool, Ordering};
    AtomicBool::new(false).load(Ordering::SeqCst);
}

/// How often a thread looks again: whatever the time, once.
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

/// Two are told elsewhere, as many as a group has.
pub(crate) const FEW: usize = 1;

/// A task of the scheduler, for what is told elsewhere.
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

/// The queue.
pub(crate) mod mpsc {
    use tokio::sync::mpsc;
    pub(crate) use tokio::sync::mpsc::error::{SendError, TryRecvError};

    use super::{ROOM, Sabotage, is_broken, step};

    pub(crate) struct Sender<T>(mpsc::Sender<T>);

    pub(crate) struct Receiver<T> {
        inner: mpsc::Receiver<T>,
        overtaken: Option<T>,
    }

    pub(crate) fn channel<T>(room: usize) -> (Sender<T>, Receiver<T>) {
        let (sender, inner) = mpsc::channel(room.min(ROOM.get()));
        let overtaken = None;
        (Sender(sender), Receiver { inner, overtaken })
    }

    impl<T> Clone for Sender<T> {
        fn clone(&self) -> Self {
            step();
            Self(self.0.clone())
        }
    }

    impl<T> Sender<T> {
        pub(crate) async fn send(&self, value: T) -> Result<(), SendError<T>> {
            step();
            self.0.send(value).await
        }
    }

    impl<T> Drop for Sender<T> {
        fn drop(&mut self) {
            step();
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn blocking_recv(&mut self) -> Option<T> {
            step();
            let overtaken = self.overtaken.take();
            overtaken.or_else(|| shuttle::future::block_on(self.inner.recv()))
        }

        pub(crate) fn try_recv(&mut self) -> Result<T, TryRecvError> {
            step();
            if let Some(overtaken) = self.overtaken.take() {
                return Ok(overtaken);
            }
            let next = self.inner.try_recv()?;
            if is_broken(Sabotage::Overtake)
                && let Ok(after) = self.inner.try_recv()
            {
                self.overtaken = Some(next);
                return Ok(after);
            }
            Ok(next)
        }
    }
}

/// The way back of an answer.
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

/// The failure that everybody may ask for.
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
