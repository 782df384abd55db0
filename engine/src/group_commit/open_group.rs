//! The group that is written next, and the room in it.

use super::{
    super::sync::{AtomicUsize, Condvar, Mutex, Ordering, Semaphore, oneshot},
    Commit, CommitAnswer, CommitRequest as _, GROUP_BYTES, GROUP_REQUESTS, Group, GroupStage as _,
    Reply, Request, lock,
};

/// No request is taken in any more.
pub(super) struct NoMore;

/// A thread that takes a request in and panics leaves the lock poisoned: which answer belongs to
/// which request is unknown then, and nothing is written any more.
pub(super) struct OpenGroup<C: Commit> {
    making: Mutex<Making<C>>,
    /// The thread is to look.
    arrived: Condvar,
    /// How many requests were taken in, to be looked at without the lock.
    count: AtomicUsize,
    /// The bytes that may still be taken in.
    room: Semaphore,
}

struct Making<C: Commit> {
    /// None once nobody is left to write.
    stage: Option<C::Stage>,
    /// Who waits for its requests, in order.
    answers: Vec<CommitAnswer<C>>,
    /// The room they take.
    weight: usize,
    /// Whether that is given back only when they are written.
    is_alone: bool,
    is_closed: bool,
    /// Whether the thread has to be woken.
    is_awaited: bool,
}

/// The thread is to see that it ends.
struct WakeAfterPanic<'a>(&'a Condvar);

impl Drop for WakeAfterPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.notify_one();
        }
    }
}

/// A group to be written.
pub(super) struct SealedGroup<C: Commit> {
    pub(super) group: Group<C>,
    pub(super) answers: Vec<CommitAnswer<C>>,
    /// The room that is given back when it is written.
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

    /// Takes a request in once there is room for it. Cancel safe: it is taken in when this returns,
    /// and not before.
    pub(super) async fn put(
        &self,
        request: Request<C>,
    ) -> Result<oneshot::Receiver<Reply<C>>, NoMore> {
        let is_alone = request.is_alone();
        let weight = if is_alone {
            GROUP_BYTES
        } else {
            let least = GROUP_BYTES / GROUP_REQUESTS;
            request.weight().clamp(least, GROUP_BYTES)
        };
        let permits = u32::try_from(weight).unwrap_or(u32::MAX);
        let room = self.room.acquire_many(permits).await.map_err(|_| NoMore)?;
        let (answer, answered) = oneshot::channel();
        // Dropped after the lock.
        let _wake = WakeAfterPanic(&self.arrived);
        let mut making = self.making.lock().map_err(|_| NoMore)?;
        let is_closed = making.is_closed;
        let stage = making.stage.as_mut().filter(|_| !is_closed);
        stage.ok_or(NoMore)?.admit(request);
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

    /// How many requests were taken in.
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until a request was taken in; false once none comes any more.
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

    /// Ends the group and makes room for the next; none where somebody panicked.
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

    /// Gives room back that a group held until it was written.
    pub(super) fn release(&self, room: usize) {
        self.room.add_permits(room);
    }

    /// Takes no more requests.
    pub(super) fn close(&self) {
        lock(&self.making).is_closed = true;
        // Whoever waits for room is told; nobody comes in any more.
        self.room.close();
        self.arrived.notify_one();
    }

    /// The same, and nobody is left to write what was taken in: who waits for it is told.
    pub(super) fn abandon(&self) {
        self.close();
        let mut making = lock(&self.making);
        let (stage, answers) = (making.stage.take(), std::mem::take(&mut making.answers));
        drop(making);
        drop((stage, answers));
    }
}
