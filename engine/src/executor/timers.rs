//! The waits of nodes, measured with the monotonic clock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::task::{AbortHandle, JoinSet};

use crate::{
    clock::Clock,
    model::{Name, RunId, Timestamp, Wait},
};

/// A node that waits.
pub(super) type Waiter = (RunId, Name);

/// The waits in progress.
pub(super) struct Timers {
    clock: Arc<dyn Clock>,
    sleeping: JoinSet<Waiter>,
    /// The recorded wait of each, `None` for a wait that is not recorded.
    armed: HashMap<Waiter, (Option<Wait>, AbortHandle)>,
}

impl Timers {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            sleeping: JoinSet::new(),
            armed: HashMap::new(),
        }
    }

    /// Starts the wait, unless this same wait is in progress. Of a wait recorded by an earlier
    /// process `min(due − now, delay)` remains. So a clock that jumped back does not prolong the
    /// wait, and one that jumped forward ends it early only once.
    pub(super) fn arm(&mut self, waiter: Waiter, wait: Wait) {
        if self
            .armed
            .get(&waiter)
            .is_some_and(|(armed, _)| *armed == Some(wait))
        {
            return;
        }
        let remaining = remaining(wait, self.clock.now());
        self.sleep(waiter, remaining, Some(wait));
    }

    /// Starts a wait that is not recorded. It ends by the monotonic clock alone, so that whoever compares
    /// that clock with a moment does not find the moment still ahead, again and again.
    pub(super) fn arm_for(&mut self, waiter: Waiter, duration: Duration) {
        self.sleep(waiter, duration, None);
    }

    fn sleep(&mut self, waiter: Waiter, duration: Duration, recorded: Option<Wait>) {
        self.disarm(&waiter);
        let (clock, woken) = (self.clock.clone(), waiter.clone());
        let handle = self.sleeping.spawn(async move {
            clock.sleep(duration).await;
            woken
        });
        self.armed.insert(waiter, (recorded, handle));
    }

    pub(super) fn disarm(&mut self, waiter: &Waiter) {
        if let Some((_, handle)) = self.armed.remove(waiter) {
            handle.abort();
        }
    }

    /// The next node whose wait is over. Pending forever while no node waits. Cancel safe.
    pub(super) async fn due(&mut self) -> Waiter {
        loop {
            match self.sleeping.join_next().await {
                Some(Ok(waiter)) => {
                    self.armed.remove(&waiter);
                    return waiter;
                }
                Some(Err(_aborted)) => {}
                None => std::future::pending().await,
            }
        }
    }
}

fn remaining(wait: Wait, now: Timestamp) -> Duration {
    Duration::from_millis(now.millis_until(wait.due).min(wait.delay_ms))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use tokio::time::Instant;
    use ulid::Ulid;

    use super::*;

    /// A wall clock that is a minute later at each reading.
    #[derive(Default)]
    struct HastyClock(AtomicU64);

    #[async_trait]
    impl Clock for HastyClock {
        fn now(&self) -> Timestamp {
            Timestamp(self.0.fetch_add(60_000, Ordering::Relaxed))
        }

        fn monotonic(&self) -> Duration {
            Duration::ZERO
        }

        async fn sleep(&self, duration: Duration) {
            tokio::time::sleep(duration).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_not_recorded_ends_by_the_monotonic_clock_alone() {
        let mut timers = Timers::new(Arc::new(HastyClock::default()));
        let begun = Instant::now();
        let waiter = (RunId(Ulid::nil()), Name::of("a"));
        timers.arm_for(waiter.clone(), Duration::from_secs(10));
        assert_eq!(timers.due().await, waiter);
        assert!(begun.elapsed() >= Duration::from_secs(10));
    }

    #[test]
    fn a_clock_that_jumped_back_does_not_make_a_wait_longer() {
        let wait = Wait {
            delay_ms: 1_000,
            due: Timestamp(5_000),
        };
        assert_eq!(remaining(wait, Timestamp(0)), Duration::from_secs(1));
        assert_eq!(
            remaining(wait, Timestamp(4_400)),
            Duration::from_millis(600)
        );
        assert_eq!(remaining(wait, Timestamp(9_000)), Duration::ZERO);
    }
}
