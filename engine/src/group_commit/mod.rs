//! Group commit: one thread writes for all callers. Requests that arrive during its sync go into
//! its next write.
//!
//! A caller adds its request to the open group, which is written next ([`GroupStage`]). With many
//! callers, their threads build a group while the previous group is synced. The new group follows
//! data that is not durable yet. A failed write needs no undo, because it ends all writing.
//!
//! Guarantees: requests are written in the order in which they were admitted. A group is written
//! after the previous group is durable. A request is answered only when its group is durable.
//!
//! The lock of the open group is never held during a write or across an await.

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

/// The most bytes of one write, roughly. It limits how many bytes of others a caller waits for.
pub(crate) const GROUP_BYTES: usize = 128 * 1024;

/// The most requests of one write; further callers wait for the next one.
const GROUP_REQUESTS: usize = 1024;

/// A request to write something.
pub trait CommitRequest: Send + 'static {
    /// About how many bytes it will take.
    fn weight(&self) -> usize;

    /// Whether no other request is admitted until this one is written, because it changes what
    /// later requests follow.
    fn is_alone(&self) -> bool {
        false
    }
}

/// The open group: admits requests until it is sealed.
pub trait GroupStage: Send + 'static {
    /// One request.
    type Request: CommitRequest;
    /// The requests of one write.
    type Group: Send + 'static;

    /// Admits a request. All other callers wait for this call, on threads that must not block.
    fn admit(&mut self, request: Self::Request);

    /// Ends the group and begins the next.
    fn seal(&mut self) -> Self::Group;
}

/// A group that holds its requests in the order of arrival.
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

/// How the thread writes a group.
pub trait Commit: Send + 'static {
    /// Builds the groups.
    type Stage: GroupStage;
    /// The answer to a request that is durable.
    type Reply: Send + 'static;

    /// Writes the group and returns, once it is durable, an answer for each of its requests in
    /// order. A refusal is an answer; an error ends all writing.
    ///
    /// # Errors
    /// A failure after which it is unknown whether the group is durable, or that forbids writing.
    fn commit(
        &mut self,
        group: <Self::Stage as GroupStage>::Group,
    ) -> Result<Vec<Result<Self::Reply, JournalError>>, JournalError>;
}

type Request<C> = <<C as Commit>::Stage as GroupStage>::Request;
type Group<C> = <<C as Commit>::Stage as GroupStage>::Group;
type Reply<C> = Result<<C as Commit>::Reply, JournalError>;
type CommitAnswer<C> = oneshot::Sender<Reply<C>>;

/// The writing thread and the open group. Dropping it waits until the thread has written all
/// admitted requests.
pub struct GroupWriter<C: Commit> {
    open: Arc<OpenGroup<C>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    failure: CommitFailure,
}

/// The first error that ended all writing, if any.
#[derive(Clone)]
struct CommitFailure(watch::Sender<Option<JournalError>>);

impl CommitFailure {
    fn get(&self) -> Option<JournalError> {
        self.0.borrow().clone()
    }

    /// Stores the error, unless there is one already.
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
    /// [`JournalError::Storage`] if the thread cannot be started.
    pub fn start(name: &str, stage: C::Stage, commit: C) -> Result<Self, JournalError> {
        let group = Arc::new(OpenGroup::new(stage));
        let failure = CommitFailure(watch::Sender::new(None));
        let alarm = Alarm::new(Arc::clone(&group), failure.clone());
        let writing = WriterThread::new(commit, alarm);
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(move || writing.run())
            .map_err(|e| JournalError::Storage(format!("no thread to write: {e}")))?;
        Ok(Self {
            open: group,
            thread: Mutex::new(Some(thread)),
            failure,
        })
    }

    /// Adds a request to the next group and waits until it is durable or refused.
    ///
    /// Cancel safety: an admitted request is written even if its caller stops waiting for the
    /// answer.
    ///
    /// # Errors
    /// The reason for the refusal, or the error that ended all writing.
    pub async fn write(&self, request: Request<C>) -> Result<C::Reply, JournalError> {
        self.check()?;
        let answered = (self.open.put(request).await)
            .map_err(|_| self.failure.get().unwrap_or(JournalError::Closed))?;
        answered
            .await
            .unwrap_or_else(|_| Err(self.failure.get().unwrap_or_else(ended)))
    }

    /// Checks that writing has not ended.
    ///
    /// # Errors
    /// The error that ended it.
    pub fn check(&self) -> Result<(), JournalError> {
        self.failure.get().map_or(Ok(()), Err)
    }

    /// Ends all writing; called when a read shows that the disk fails.
    pub fn fail(&self, error: &JournalError) {
        self.failure.set(error);
    }

    /// Waits for the error that ends all writing; forever if there is none. Cancel safe.
    pub async fn failed(&self) -> JournalError {
        let mut failure = self.failure.0.subscribe();
        match failure.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or_else(ended),
            Err(_) => std::future::pending().await,
        }
    }

    /// Refuses further requests, writes the admitted ones, and ends the thread.
    pub async fn close(&self) {
        self.open.close();
        let thread = lock(&self.thread).take();
        // A panic of the thread, if any, is already in `failure`.
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
