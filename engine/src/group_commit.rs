//! One thread that writes for everybody: what arrives while it syncs goes into its next write.
//!
//! Who was just answered often comes back at once. So the thread looks for a moment before it
//! sleeps, as waking it may take half as long as a sync; and where many were answered together and
//! few are back, it waits a part of a sync for the others, who would have to wait for a whole one.

use std::time::{Duration, Instant};

use super::sync::{
    Builder, Elsewhere, FEW, JoinHandle, Mutex, MutexGuard, Patience, PoisonError, join, mpsc,
    oneshot, watch,
};
use crate::journal::JournalError;

/// Requests that may wait for the writer; beyond, callers wait for room.
const QUEUE: usize = 1024;

/// The most bytes of one write, roughly: nobody waits for more than so many of others.
const GROUP_BYTES: usize = 128 * 1024;

/// The longest that the thread looks for a request before it sleeps.
const WATCH: Duration = Duration::from_micros(150);

/// A request that comes so soon after a commit belongs to a sequence of them.
const SEQUENCE: Duration = Duration::from_millis(1);

/// What the thread does with the requests it found waiting.
pub trait Commit: Send + 'static {
    /// Something to be written.
    type Request: Send + 'static;
    /// What is told about it once it is durable.
    type Reply: Send + 'static;

    /// About how many bytes a request will take.
    fn weight(request: &Self::Request) -> usize;

    /// Writes the group and returns, once it is durable, an answer for each of its requests in
    /// order. A refused request is an answer; an error is the end of all writing.
    ///
    /// # Errors
    /// What makes it unknown whether the group is durable, or forbids writing.
    fn commit(
        &mut self,
        group: Vec<Self::Request>,
    ) -> Result<Vec<Result<Self::Reply, JournalError>>, JournalError>;
}

type CommitAnswer<C> = oneshot::Sender<Result<<C as Commit>::Reply, JournalError>>;
type AnswerToGive<C> = (CommitAnswer<C>, Result<<C as Commit>::Reply, JournalError>);
type WaitingBatch<C> = (<C as Commit>::Request, CommitAnswer<C>);
type Queue<C> = mpsc::Sender<WaitingBatch<C>>;

/// Answers that are given as this is dropped: to wake many tasks costs the writing thread, in whose
/// time all others wait, more than a thread of the runtime.
struct GroupAnswers<C: Commit>(Vec<AnswerToGive<C>>);

impl<C: Commit> Drop for GroupAnswers<C> {
    fn drop(&mut self) {
        for (answer, result) in self.0.drain(..) {
            // Nobody waits any more: the request was written all the same.
            let _ = answer.send(result);
        }
    }
}

/// The thread and its queue. Dropping it lets the thread finish what waits, and waits for it.
pub struct GroupWriter<C: Commit> {
    queue: Mutex<Option<Queue<C>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    failure: CommitFailure,
}

/// The first error after which nothing is written any more.
#[derive(Clone)]
pub struct CommitFailure(watch::Sender<Option<JournalError>>);

impl CommitFailure {
    fn get(&self) -> Option<JournalError> {
        self.0.borrow().clone()
    }

    /// Takes the error in, unless there is one already.
    pub fn set(&self, error: &JournalError) {
        self.0.send_if_modified(|first| {
            let fresh = first.is_none();
            first.get_or_insert_with(|| error.clone());
            fresh
        });
    }
}

/// Tells that the thread panicked, so that nobody takes silence for health.
struct Alarm(CommitFailure);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.set(&ended());
        }
    }
}

fn ended() -> JournalError {
    JournalError::Storage("the writing thread ended unexpectedly".to_owned())
}

impl<C: Commit> GroupWriter<C> {
    /// Starts the thread. `make` gets what an error met elsewhere is told to.
    ///
    /// # Errors
    /// What `make` says, or [`JournalError::Storage`] where no thread can be had.
    pub fn start(
        name: &str,
        make: impl FnOnce(CommitFailure) -> Result<C, JournalError>,
    ) -> Result<Self, JournalError> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let failure = CommitFailure(watch::Sender::new(None));
        let commit = make(failure.clone())?;
        let alarm = Alarm(failure.clone());
        let elsewhere = Elsewhere::here();
        let thread = Builder::new()
            .name(name.to_owned())
            .spawn(move || run(commit, waiting, &alarm, &elsewhere))
            .map_err(|e| JournalError::Storage(format!("no thread to write: {e}")))?;
        let (queue, thread) = (Mutex::new(Some(queue)), Mutex::new(Some(thread)));
        Ok(Self {
            queue,
            thread,
            failure,
        })
    }

    /// Hands a request to the thread and waits until it is durable or refused.
    ///
    /// Cancel safety: once the request is in the queue it is written whether or not anybody
    /// waits for the answer.
    ///
    /// # Errors
    /// What the request was refused for, or the error that ended all writing.
    pub async fn write(&self, request: C::Request) -> Result<C::Reply, JournalError> {
        self.check()?;
        let queue = lock(&self.queue).clone().ok_or(JournalError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let sent = queue.send((request, answer)).await;
        drop(queue);
        sent.map_err(|_| self.failure.get().unwrap_or_else(ended))?;
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

    /// Takes no more requests, writes those that wait, and ends the thread.
    pub async fn close(&self) {
        drop(lock(&self.queue).take());
        let thread = lock(&self.thread).take();
        // The thread's panic, if any, is known through `failure` already.
        if let Some(thread) = thread {
            join(thread).await;
        }
    }
}

impl<C: Commit> Drop for GroupWriter<C> {
    fn drop(&mut self) {
        drop(lock(&self.queue).take());
        let _ = lock(&self.thread).take().map(JoinHandle::join);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn run<C: Commit>(
    mut commit: C,
    mut waiting: mpsc::Receiver<WaitingBatch<C>>,
    Alarm(failure): &Alarm,
    elsewhere: &Elsewhere,
) {
    let mut pace = Pace::default();
    while let Some(first) = pace.next(&mut waiting) {
        let (group, answers) = gather::<C>(first, &mut waiting, &pace);
        let count = answers.len();
        let begun = Instant::now();
        let results = failure.get().map_or_else(|| commit.commit(group), Err);
        pace.committed(count, begun.elapsed());
        let results = results.unwrap_or_else(|error| {
            failure.set(&error);
            std::iter::repeat_with(|| Err(error.clone()))
                .take(count)
                .collect()
        });
        let answers = GroupAnswers::<C>(answers.into_iter().zip(results).collect());
        if count > FEW {
            elsewhere.drop(answers);
        }
    }
}

fn gather<C: Commit>(
    first: WaitingBatch<C>,
    waiting: &mut mpsc::Receiver<WaitingBatch<C>>,
    pace: &Pace,
) -> (Vec<C::Request>, Vec<CommitAnswer<C>>) {
    let mut weight = C::weight(&first.0);
    let mut group = vec![first];
    let mut patience = pace.for_others();
    while weight < GROUP_BYTES && group.len() < QUEUE {
        match waiting.try_recv() {
            Ok(next) => {
                weight = weight.saturating_add(C::weight(&next.0));
                group.push(next);
            }
            Err(_) if pace.is_usual(group.len()) || patience.is_over() => break,
            Err(_) => {}
        }
    }
    group.into_iter().unzip()
}

/// How requests came lately.
#[derive(Default)]
struct Pace {
    /// The requests of the last commit, and how long it took.
    count: usize,
    took: Duration,
    ended: Option<Instant>,
    in_sequence: bool,
}

impl Pace {
    fn committed(&mut self, count: usize, took: Duration) {
        (self.count, self.took) = (count, took);
        self.ended = Some(Instant::now());
    }

    /// Waits for a request; none comes any more once the queue is closed.
    fn next<T>(&mut self, waiting: &mut mpsc::Receiver<T>) -> Option<T> {
        let mut patience = Patience::of(if self.in_sequence {
            (self.took / 2).min(WATCH)
        } else {
            Duration::ZERO
        });
        let next = loop {
            match waiting.try_recv() {
                Ok(next) => break Some(next),
                Err(_) if patience.is_over() => break waiting.blocking_recv(),
                Err(_) => {}
            }
        };
        self.in_sequence = self.ended.is_some_and(|ended| ended.elapsed() < SEQUENCE);
        next
    }

    /// Whether a group is about as large as the one before it.
    fn is_usual(&self, group: usize) -> bool {
        group >= self.count / 2
    }

    /// How long a group waits until it is.
    fn for_others(&self) -> Patience {
        Patience::of((self.took / 4).min(WATCH))
    }
}
