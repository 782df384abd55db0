//! Delays between attempts.

use std::time::Duration;

use backoff::{ExponentialBackoff, ExponentialBackoffBuilder, backoff::Backoff};

use super::config::Tuning;
use crate::model::{Timestamp, Wait};

/// The growing delays of one node, with jitter and without a limit on attempts.
pub(super) struct Retry {
    backoff: ExponentialBackoff,
    longest: Duration,
    /// Attempts that ended like the recorded one and were only counted.
    pub(super) repeats: u64,
    /// The number of the newest attempt, including counted ones.
    pub(super) attempt: u32,
}

impl Retry {
    pub(super) fn new(tuning: &Tuning) -> Self {
        let backoff = ExponentialBackoffBuilder::new()
            .with_initial_interval(tuning.first_retry)
            .with_multiplier(2.0)
            .with_randomization_factor(tuning.jitter)
            .with_max_interval(tuning.longest_retry)
            .with_max_elapsed_time(None)
            .build();
        Self {
            backoff,
            longest: tuning.longest_retry,
            repeats: 0,
            attempt: 0,
        }
    }

    /// Makes the next delay as short as the first one: the newest attempt got further.
    pub(super) fn begin_again(&mut self) {
        self.backoff.reset();
    }

    /// The next wait, starting at `now`.
    pub(super) fn next(&mut self, now: Timestamp) -> Wait {
        wait(self.delay(), now)
    }

    /// The next delay.
    pub(super) fn delay(&mut self) -> Duration {
        let next = self.backoff.next_backoff().unwrap_or(self.longest);
        next.min(self.longest)
    }
}

/// A recorded wait of `delay`, starting at `now`.
pub(super) fn wait(delay: Duration, now: Timestamp) -> Wait {
    let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
    Wait {
        delay_ms,
        due: now.plus_millis(delay_ms),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_longest_and_never_end() {
        let tuning = Tuning::default();
        let mut retry = Retry::new(&tuning);
        let delays: Vec<_> = (0..2_000)
            .map(|_| retry.next(Timestamp(0)).delay_ms)
            .collect();
        assert!(delays[0] < 2_000, "{}", delays[0]);
        let longest = u64::try_from(tuning.longest_retry.as_millis()).unwrap();
        assert!(delays.iter().all(|delay| *delay <= longest));
        assert!(delays[1_000..].iter().all(|delay| *delay > longest / 2));
        retry.begin_again();
        assert!(retry.next(Timestamp(0)).delay_ms < 2_000);
    }
}
