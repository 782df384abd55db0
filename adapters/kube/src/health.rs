//! Health: whether the API server answers, and whether the parts of the operator make progress.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// After this long with errors and without an answer, the API server counts as not connected.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A working part without progress for this long is stuck; no single call takes as long.
const STUCK: Duration = Duration::from_secs(300);

/// When the API server last answered and last failed, and which parts are working.
#[derive(Debug, Default)]
pub struct Health {
    times: Arc<Mutex<HealthTimes>>,
    /// The owner of the parts, if several share this state.
    of: String,
}

#[derive(Debug, Default)]
struct HealthTimes {
    answered: Option<Instant>,
    failing_since: Option<Instant>,
    failed_last: Option<Instant>,
    /// When each working part last made progress.
    at_work: BTreeMap<String, Instant>,
}

impl Health {
    /// The same state for one of several owners of parts. Its parts are removed when it is dropped.
    pub(crate) fn of(&self, whose: &str) -> Self {
        Self {
            times: self.times.clone(),
            of: format!("{whose}: "),
        }
    }

    fn lock(&self) -> MutexGuard<'_, HealthTimes> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn answered(&self) {
        let mut times = self.lock();
        times.answered = Some(Instant::now());
        times.failing_since = None;
    }

    pub(crate) fn failed(&self) {
        let mut times = self.lock();
        let last = times.failed_last.replace(Instant::now());
        // A watch that resumes where it was sends nothing until something changes.
        if last.is_none_or(|last| last.elapsed() >= TIMEOUT) {
            times.failing_since = None;
        }
        times.failing_since.get_or_insert_with(Instant::now);
    }

    /// Records that a part started or continues to work.
    pub(crate) fn heartbeat(&self, part: &'static str) {
        let name = format!("{}{part}", self.of);
        self.lock().at_work.insert(name, Instant::now());
    }

    /// Records that a part has nothing to do.
    pub(crate) fn idle(&self, part: &'static str) {
        self.lock().at_work.remove(&format!("{}{part}", self.of));
    }

    /// A working part that makes no progress, if there is one.
    pub fn stuck(&self) -> Option<String> {
        let times = self.lock();
        let mut all = times.at_work.iter();
        all.find(|(_, since)| since.elapsed() >= STUCK)
            .map(|(part, _)| part.clone())
    }

    /// Whether the API server has answered before, and is not failing now. Errors that last for less than a
    /// minute, or that stopped a minute ago, do not count.
    pub fn is_connected(&self) -> bool {
        let times = self.lock();
        let is_long = |since: Option<Instant>| since.is_some_and(|at| at.elapsed() >= TIMEOUT);
        let failing = is_long(times.failing_since) && !is_long(times.failed_last);
        times.answered.is_some() && !failing
    }
}

impl Drop for Health {
    fn drop(&mut self) {
        let of = std::mem::take(&mut self.of);
        if !of.is_empty() {
            let mut times = self.lock();
            times.at_work.retain(|part, _| !part.starts_with(&of));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_of_several_that_is_stuck_is_named_until_it_goes() {
        let health = Health::default();
        let (one, other) = (health.of("journal 1"), health.of("journal 11"));
        one.heartbeat("a");
        other.heartbeat("a");
        tokio::time::sleep(STUCK).await;
        other.idle("a");
        assert_eq!(health.stuck().as_deref(), Some("journal 1: a"));
        drop(one);
        assert_eq!(health.stuck(), None);
        other.answered();
        assert!(health.is_connected(), "they have one API server");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_work_and_does_not_get_on_is_stuck_until_it_does() {
        let health = Health::default();
        for _ in 0..10 {
            health.heartbeat("a");
            tokio::time::sleep(STUCK / 2).await;
            assert_eq!(health.stuck(), None);
        }
        tokio::time::sleep(STUCK).await;
        assert_eq!(health.stuck().as_deref(), Some("a"));
        health.idle("a");
        tokio::time::sleep(STUCK * 2).await;
        assert_eq!(health.stuck(), None, "it has nothing to do");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_fails_for_long_is_not_connected_until_it_answers_or_fails_no_more() {
        let health = Health::default();
        assert!(!health.is_connected());
        health.answered();
        for _ in 0..6 {
            assert!(health.is_connected());
            health.failed();
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
        assert!(!health.is_connected());
        tokio::time::sleep(TIMEOUT).await;
        assert!(health.is_connected(), "it fails no more");
        health.failed();
        assert!(health.is_connected(), "that is another failure");
    }
}
