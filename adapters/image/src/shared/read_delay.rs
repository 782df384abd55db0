//! How long a read may wait for slower members: what the fast ones lose by sharing is bounded.

use std::time::Duration;

use tokio::time::Instant;

/// One part in so many of a read's time may be waited.
const PART: u32 = 8;
/// So long may be waited in any case: hosts that are equally fast take turns, and a disk that syncs takes nothing for a second.
const LEAST: Duration = Duration::from_secs(2);

/// What a read has waited since it began.
pub(super) struct ReadDelay {
    begun: Instant,
    waited: Duration,
}

impl ReadDelay {
    pub(super) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// How long it may still wait.
    pub(super) fn left(&self) -> Duration {
        let allowed = LEAST.saturating_add(self.begun.elapsed() / PART);
        allowed.saturating_sub(self.waited)
    }

    /// It waited since then.
    pub(super) fn waited(&mut self, since: Instant) {
        self.waited = self.waited.saturating_add(since.elapsed());
    }
}
