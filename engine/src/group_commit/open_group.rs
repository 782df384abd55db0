//! The open group, which is written next, and the room in it.

use super::{
    super::sync::{AtomicUsize, Condvar, Mutex, Ordering, Semaphore, oneshot},
    Commit, CommitAnswer, CommitRequest as _, GROUP_BYTES, GROUP_REQUESTS, Group, GroupStage as _,
    Reply, Request, lock,
};

/// Error: the group admits no more requests.
pub(super) struct Closed;

/// The open group, shared by the callers and the writing thread.
///
/// A caller that panics while it admits a request poisons the lock. It is then unknown which answer
/// belongs to which request, so nothing more is written.
pub(super) struct OpenGroup<C: Commit> {
    making: Mutex<Making<C>>,
    /// Wakes the thread.
    arrived: Condvar,
    /// How many requests were admitted, readable without the lock.
    count: AtomicUsize,
    /// The bytes that may still be admitted.
    room: Semaphore,
}

struct Making<C: Commit> {
    /// None once the writing thread has ended.
    stage: Option<C::Stage>,
    /// Where the answers to its requests go, in order.
    answers: Vec<CommitAnswer<C>>,
    /// The room its requests take, in bytes.
    weight: usize,
    /// Whether that room is released only when the group is written.
    is_alone: bool,
    is_closed: bool,
    /// Whether the thread sleeps and has to be woken.
    is_awaited: bool,
}

/// Wakes the writing thread after a panic, so that it notices the poisoned lock.
struct WakeAfterPanic<'a>(&'a Condvar);

impl Drop for WakeAfterPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}

/// A group that is ready to be written.
pub(super) struct SealedGroup<C: Commit> {
    pub(super) group: Group<C>,
    pub(super) answers: Vec<CommitAnswer<C>>,
    /// The room to release when it is written, in bytes.
    pub(super) holds: usize,
}

impl<C: Commit> OpenGroup<C> {
    pub(super) fn new(stage: C::Stage) -> Self {
        Self {
            making: Mutex::new(Making {
                stage: Some(stage),
                answers: Vec::new(),
                weight: 0,
                is_alone: false,
                is_closed: false,
                is_awaited: false,
            }),
            arrived: Condvar::new(),
            count: AtomicUsize::new(0),
            room: Semaphore::new(GROUP_BYTES),
        }
    }

    /// Admits a request once there is room for it. Cancel safe: the request is admitted when this
    /// returns, not before.
    pub(super) async fn put(
        &self,
        request: Request<C>,
    ) -> Result<oneshot::Receiver<Reply<C>>, Closed> {
        let is_alone = request.is_alone();
        let weight = if is_alone {
            GROUP_BYTES
        } else {
            let least = GROUP_BYTES / GROUP_REQUESTS;
            request.weight().clamp(least, GROUP_BYTES)
        };
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = self.room.acquire_many(permits).await.map_err(|_| Closed)?;
        let (answer, answered) = oneshot::channel();
        // Declared before the lock, so that it is dropped after it.
        let _wake = WakeAfterPanic(&self.arrived);
        let mut making = self.making.lock().map_err(|_| Closed)?;
        let is_closed = making.is_closed;
        let stage = making.stage.as_mut().filter(|_| !is_closed);
        stage.ok_or(Closed)?.admit(request);
        making.answers.push(answer);
        making.weight = making.weight.saturating_add(weight);
        making.is_alone |= is_alone;
        room.forget();
        self.count.store(making.answers.len(), Ordering::Release);
        let is_awaited = std::mem::take(&mut making.is_awaited);
        drop(making);
        if is_awaited {
            self.arrived.notify_one();
        }
        Ok(answered)
    }

    /// How many requests were admitted.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until a request was admitted; false once the group is closed and empty.
    pub(super) fn wait(&self) -> bool {
        let mut locked = self.making.lock();
        loop {
            let Ok(mut making) = locked else { break true };
            if !making.answers.is_empty() || making.is_closed {
                break !making.answers.is_empty();
            }
            making.is_awaited = true;
            locked = self.arrived.wait(making);
        }
    }

    /// Ends the group and makes room for the next one; none if a caller panicked.
    pub(super) fn seal(&self) -> Option<SealedGroup<C>> {
        let mut making = self.making.lock().ok()?;
        let group = making.stage.as_mut()?.seal();
        let expected = making.answers.len();
        let answers = std::mem::replace(&mut making.answers, Vec::with_capacity(expected));
        let weight = std::mem::take(&mut making.weight);
        let is_alone = std::mem::take(&mut making.is_alone);
        self.count.store(0, Ordering::Release);
        drop(making);
        let holds = if is_alone { weight } else { 0 };
        self.room.add_permits(weight.saturating_sub(holds));
        Some(SealedGroup {
            group,
            answers,
            holds,
        })
    }

    /// Releases room that a group held until it was written.
    pub(super) fn release(&self, room: usize) {
        self.room.add_permits(room);
    }

    /// Refuses further requests.
    pub(super) fn close(&self) {
        lock(&self.making).is_closed = true;
        // Callers that wait for room get an error.
        self.room.close();
        self.arrived.notify_one();
    }

    /// Closes the group when no thread is left to write it: its callers get an error.
    pub(super) fn abandon(&self) {
        self.close();
        let mut making = lock(&self.making);
        let (stage, answers) = (making.stage.take(), std::mem::take(&mut making.answers));
        drop(making);
        drop((stage, answers));
    }
}
