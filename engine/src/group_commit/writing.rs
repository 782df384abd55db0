//! The writing thread: commits one group after another and answers its callers.

use std::{sync::Arc, time::Instant};

use super::{
    super::sync::{Elsewhere, FEW},
    Commit, CommitAnswer, CommitFailure, Reply, ended,
    open_group::{OpenGroup, SealedGroup},
    pace::Pace,
};
use crate::journal::JournalError;

/// Reports the end of the thread: on drop it closes the group, so that no caller waits forever.
pub(super) struct Alarm<C: Commit> {
    open: Arc<OpenGroup<C>>,
    failure: CommitFailure,
}

impl<C: Commit> Alarm<C> {
    pub(super) fn new(open: Arc<OpenGroup<C>>, failure: CommitFailure) -> Self {
        Self { open, failure }
    }
}

impl<C: Commit> Drop for Alarm<C> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.failure.set(&ended());
        }
        self.open.abandon();
    }
}

/// Answers that are sent when this is dropped, so that another thread can send them. Waking many
/// tasks costs the writing thread more than a thread of the runtime, and all callers wait for it.
struct GroupAnswers<C: Commit>(Vec<(CommitAnswer<C>, Reply<C>)>);

impl<C: Commit> Drop for GroupAnswers<C> {
    fn drop(&mut self) {
        for (answer, result) in self.0.drain(..) {
            // An error means that the caller no longer waits. Its request was written anyway.
            let _ = answer.send(result);
        }
    }
}

pub(super) struct WriterThread<C: Commit> {
    commit: C,
    alarm: Alarm<C>,
    elsewhere: Elsewhere,
}

impl<C: Commit> WriterThread<C> {
    pub(super) fn new(commit: C, alarm: Alarm<C>) -> Self {
        Self {
            commit,
            alarm,
            elsewhere: Elsewhere::here(),
        }
    }

    /// Writes until the open group is closed and empty.
    pub(super) fn run(mut self) {
        let mut pace = Pace::default();
        while pace.wait(&self.alarm.open) {
            let Some(SealedGroup {
                group,
                answers,
                holds,
            }) = self.alarm.open.seal()
            else {
                self.alarm.failure.set(&ended());
                break;
            };
            let (count, begun) = (answers.len(), Instant::now());
            let results = match self.alarm.failure.get() {
                None => self.commit.commit(group),
                Some(error) => Err(error),
            };
            pace.committed(count, begun.elapsed());
            self.answer(answers, results);
            self.alarm.open.release(holds);
        }
    }

    fn answer(&self, answers: Vec<CommitAnswer<C>>, results: Result<Vec<Reply<C>>, JournalError>) {
        let count = answers.len();
        let replies = results.unwrap_or_else(|error| {
            self.alarm.failure.set(&error);
            std::iter::repeat_with(|| Err(error.clone()))
                .take(count)
                .collect()
        });
        let answers = GroupAnswers::<C>(answers.into_iter().zip(replies).collect());
        if count > FEW {
            self.elsewhere.drop(answers);
        }
    }
}
