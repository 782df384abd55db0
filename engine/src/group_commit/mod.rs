//! One thread that writes for everybody: what arrives while it syncs goes into its next write.
//!
//! Who calls takes his own request into the group that is written next ([`GroupStage`]). So where many
//! write, a group is made by all their threads while the one before it is synced, on top of what is
//! not durable yet. Nothing has to be taken back where a write fails: that ends all writing.
//!
//! Guarantees: requests are written in the order in which they were taken in; a group is begun
//! after the one before it is durable; nobody is answered before that.
//!
//! What it never does: hold the lock of the group in the making over a write or an await.

mod open_group;
mod pace;
mod writing;

use std::sync::Arc;

use self::{
    open_group::OpenGroup,
    writing::{Alarm, WriterThread},
};
use super::sync::{Builder, JoinHandle, Mutex, MutexGuard, PoisonError, join, oneshot, watch};
use crate::journal::JournalError;

/// The most bytes of one write, roughly: nobody waits for more than so many of others.
pub(crate) const GROUP_BYTES: usize = 128 * 1024;

/// The most requests of one write; beyond, callers wait for the next.
const GROUP_REQUESTS: usize = 1024;

/// Something to be written.
pub trait CommitRequest: Send + 'static {
    /// About how many bytes it will take.
    fn weight(&self) -> usize;

    /// Whether nothing is taken in until it is written, as it changes what follows.
    fn is_alone(&self) -> bool {
        false
    }
}

/// The group in the making.
pub trait GroupStage: Send + 'static {
    /// What is taken in.
    type Request: CommitRequest;
    /// What is written at once.
    type Group: Send + 'static;

    /// Takes a request in. Everybody else waits for it meanwhile, on threads that must not block.
    fn admit(&mut self, request: Self::Request);

    /// Ends the group and begins the next.
    fn seal(&mut self) -> Self::Group;
}

/// A group of requests as they came.
pub struct Requests<R>(Vec<R>);

impl<R> Default for Requests<R> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<R: CommitRequest> GroupStage for Requests<R> {
    type Request = R;
    type Group = Vec<R>;

    fn admit(&mut self, request: R) {
        self.0.push(request);
    }

    fn seal(&mut self) -> Vec<R> {
        std::mem::take(&mut self.0)
    }
}

/// What the thread does with a group.
pub trait Commit: Send + 'static {
    /// Where the next one is made.
    type Stage: GroupStage;
    /// What is told about a request once it is durable.
    type Reply: Send + 'static;

    /// Writes the group and returns, once it is durable, an answer for each of its requests in
    /// order. A refused request is an answer; an error is the end of all writing.
    ///
    /// # Errors
    /// What makes it unknown whether the group is durable, or forbids writing.
    fn commit(
        &mut self,
        group: <Self::Stage as GroupStage>::Group,
    ) -> Result<Vec<Result<Self::Reply, JournalError>>, JournalError>;
}

type Request<C> = <<C as Commit>::Stage as GroupStage>::Request;
type Group<C> = <<C as Commit>::Stage as GroupStage>::Group;
type Reply<C> = Result<<C as Commit>::Reply, JournalError>;
type CommitAnswer<C> = oneshot::Sender<Reply<C>>;

/// The thread and what it writes next. Dropping it lets the thread finish what was taken in, and
/// waits for it.
pub struct GroupWriter<C: Commit> {
    open: Arc<OpenGroup<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    failure: CommitFailure,
}

/// The first error after which nothing is written any more.
#[derive(Clone)]
struct CommitFailure(watch::Sender<Option<JournalError>>);

impl CommitFailure {
    fn get(&self) -> Option<JournalError> {
        self.0.borrow().clone()
    }

    /// Takes the error in, unless there is one already.
    fn set(&self, error: &JournalError) {
        self.0.send_if_modified(|first| {
            let fresh = first.is_none();
            first.get_or_insert_with(|| error.clone());
            fresh
        });
    }
}

fn ended() -> JournalError {
    JournalError::Storage("the writing thread ended unexpectedly".to_owned())
}

impl<C: Commit> GroupWriter<C> {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`JournalError::Storage`] where no thread can be had.
    pub fn start(name: &str, stage: C::Stage, commit: C) -> Result<Self, JournalError> {
        let open = Arc::new(OpenGroup::new(stage));
        let failure = CommitFailure(watch::Sender::new(None));
        let alarm = Alarm::new(Arc::clone(&open), failure.clone());
        let writing = WriterThread::new(commit, alarm);
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(move || writing.run())
            .map_err(|e| JournalError::Storage(format!("no thread to write: {e}")))?;
        Ok(Self {
            open,
            thread: Mutex::new(Some(thread)),
            failure,
        })
    }

    /// Takes a request into the next group and waits until it is durable or refused.
    ///
    /// Cancel safety: once the request was taken in it is written whether or not anybody waits for
    /// the answer.
    ///
    /// # Errors
    /// What the request was refused for, or the error that ended all writing.
    pub async fn write(&self, request: Request<C>) -> Result<C::Reply, JournalError> {
        self.check()?;
        let answered = self.open.put(request).await;
        let answered = answered.map_err(|_| self.failure.get().unwrap_or(JournalError::Closed))?;
        answered
            .await
            .unwrap_or_else(|_| Err(self.failure.get().unwrap_or_else(ended)))
    }

    /// Whether all writing ended.
    ///
    /// # Errors
    /// The error that ended it.
    pub fn check(&self) -> Result<(), JournalError> {
        self.failure.get().map_or(Ok(()), Err)
    }

    /// Ends all writing, for a reader that met a failing disk.
    pub fn fail(&self, error: &JournalError) {
        self.failure.set(error);
    }

    /// Waits for the error that ends all writing; for ever where none comes. Cancel safe.
    pub async fn failed(&self) -> JournalError {
        let mut failure = self.failure.0.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or_else(ended),
            Err(_) => std::future::pending().await,
        }
    }

    /// Takes no more requests, writes those that were taken in, and ends the thread.
    pub async fn close(&self) {
        self.open.close();
        let thread = lock(&self.thread).take();
        // The thread's panic, if any, is known through `failure` already.
        if let Some(thread) = thread {
            join(thread).await;
        }
    }
}

impl<C: Commit> Drop for GroupWriter<C> {
    fn drop(&mut self) {
        self.open.close();
        let _ = lock(&self.thread).take().map(JoinHandle::join);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
