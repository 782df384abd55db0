//! Who will open an image soon, as far as that can be told.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, futures::OwnedNotified};
use tokio::time::Instant;

/// Who has not come by then has the image already, or is held up.
const SOON: Duration = Duration::from_secs(5);

/// So many are remembered of an image; more make no difference.
const MOST: usize = 64;

/// When each of those said so who have not come yet, by the image's URL.
#[derive(Default)]
pub(super) struct ExpectedReaders {
    times: Mutex<HashMap<String, VecDeque<Instant>>>,
    came: Arc<Notify>,
}

impl ExpectedReaders {
    /// Somebody says so.
    pub(super) fn expect(&self, url: &str) {
        self.with_expected(|all| {
            let times = all.entry(url.to_owned()).or_default();
            times.push_back(Instant::now());
            if times.len() > MOST {
                times.pop_front();
            }
        });
    }

    /// One of them has opened it.
    pub(super) fn opened(&self, url: &str) {
        self.with_expected(|all| all.get_mut(url).and_then(VecDeque::pop_front));
        self.came.notify_waiters();
    }

    /// Ends when somebody comes from now on.
    pub(super) fn change(&self) -> OwnedNotified {
        Arc::clone(&self.came).notified_owned()
    }

    /// Whether anybody is still expected.
    pub(super) fn any(&self, url: &str) -> bool {
        self.with_expected(|all| all.contains_key(url))
    }

    /// Looks at those who are expected, before and after without those who are not any more.
    fn with_expected<T>(
        &self,
        look: impl FnOnce(&mut HashMap<String, VecDeque<Instant>>) -> T,
    ) -> T {
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, times| {
            times.retain(|at| at.elapsed() < SOON);
            !times.is_empty()
        });
        look(&mut all)
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
