//! Which readers announced that they will open an image soon.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, futures::OwnedNotified};
use tokio::time::Instant;

/// After this time an announced reader has the image already, or is delayed, and is no longer expected.
const SOON: Duration = Duration::from_secs(5);

/// How many announcements are stored for an image; more make no difference.
const MAX: usize = 64;

/// The times of announcements whose readers have not opened the image yet, by its URL.
#[derive(Default)]
pub(super) struct ExpectedReaders {
    times: Mutex<HashMap<String, VecDeque<Instant>>>,
    arrived: Arc<Notify>,
}

impl ExpectedReaders {
    /// Announces a reader.
    pub(super) fn expect(&self, url: &str) {
        self.with_expected(|readers| {
            let times = readers.entry(url.to_owned()).or_default();
            times.push_back(Instant::now());
            if times.len() > MAX {
                times.pop_front();
            }
        });
    }

    /// Records that one announced reader has opened the image.
    pub(super) fn opened(&self, url: &str) {
        self.with_expected(|readers| readers.get_mut(url).and_then(VecDeque::pop_front));
        self.arrived.notify_waiters();
    }

    /// Completes when an announced reader opens an image after this call.
    pub(super) fn change(&self) -> OwnedNotified {
        Arc::clone(&self.arrived).notified_owned()
    }

    /// Whether a reader of this image is still expected.
    pub(super) fn any(&self, url: &str) -> bool {
        self.with_expected(|readers| readers.contains_key(url))
    }

    /// Accesses the announcements, without expired ones.
    fn with_expected<T>(
        &self,
        look: impl FnOnce(&mut HashMap<String, VecDeque<Instant>>) -> T,
    ) -> T {
        let mut readers = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        readers.retain(|_, times| {
            times.retain(|announced| announced.elapsed() < SOON);
            !times.is_empty()
        });
        look(&mut readers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_asked_is_expected_until_it_comes_or_takes_too_long() {
        let expected = ExpectedReaders::default();
        expected.opened("x");
        expected.expect("x");
        expected.expect("x");
        assert!(expected.any("x") && !expected.any("y"));
        expected.opened("x");
        assert!(expected.any("x"));
        expected.opened("x");
        assert!(!expected.any("x"));
        expected.expect("x");
        tokio::time::advance(SOON).await;
        assert!(!expected.any("x"));
    }
}
