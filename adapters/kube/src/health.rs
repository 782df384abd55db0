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
}

impl Health {
    pub(crate) fn answered(&self) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.answered = Some(Instant::now());
        times.failing_since = None;
    }

    pub(crate) fn failed(&self) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        times.failing_since.get_or_insert_with(Instant::now);
    }

    /// Whether the API server answered since it last failed for a while.
    pub fn is_connected(&self) -> bool {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let patient = times
            .failing_since
            .is_none_or(|since| since.elapsed() < PATIENCE);
        times.answered.is_some() && patient
    }
}
