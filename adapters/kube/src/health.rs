//! Whether the API server answers.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So long without an answer, with errors, counts as not connected.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the API server last answered, and when it last did not.
#[derive(Debug, Default)]
pub struct Health(Mutex<Times>);

#[derive(Debug, Default)]
struct Times {
    answered: Option<Instant>,
    failing_since: Option<Instant>,
    failed_last: Option<Instant>,
}

impl Health {
    pub(crate) fn answered(&self) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.answered = Some(Instant::now());
        times.failing_since = None;
    }

    pub(crate) fn failed(&self) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = times.failed_last.replace(Instant::now());
        // A watch that goes on where it was says nothing until something changes.
        if last.is_none_or(|last| last.elapsed() >= PATIENCE) {
            times.failing_since = None;
        }
        times.failing_since.get_or_insert_with(Instant::now);
    }

    /// Whether the API server answered since it last failed for a while.
    pub fn is_connected(&self) -> bool {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_long = |since: Option<Instant>| since.is_some_and(|at| at.elapsed() >= PATIENCE);
        let failing = is_long(times.failing_since) && !is_long(times.failed_last);
        times.answered.is_some() && !failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        tokio::time::sleep(PATIENCE).await;
        assert!(health.is_connected(), "it fails no more");
        health.failed();
        assert!(health.is_connected(), "that is another failure");
    }
}
