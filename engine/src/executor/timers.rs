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
    armed: HashMap<Waiter, (Wait, AbortHandle)>,
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
            .is_some_and(|(armed, _)| *armed == wait)
        {
            return;
        }
        self.disarm(&waiter);
        let remaining = remaining(wait, self.clock.now());
        let (clock, woken) = (self.clock.clone(), waiter.clone());
        let handle = self.sleeping.spawn(async move {
            clock.sleep(remaining).await;
            woken
        });
        self.armed.insert(waiter, (wait, handle));
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
    use super::*;

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
