//! Limits how long a read waits for slower members, so that sharing does not slow the fast ones down much.

use std::time::Duration;

use tokio::time::Instant;

/// The read may wait for this fraction of its time: one eighth.
const PART: u32 = 8;
/// The read may always wait this long: equally fast hosts take turns, and a disk that syncs accepts nothing
/// for a second.
const MIN: Duration = Duration::from_secs(2);

/// How long a read has waited since it began.
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
        let allowed = MIN.saturating_add(self.begun.elapsed() / PART);
        allowed.saturating_sub(self.waited)
    }

    /// Records that the read waited from `since` until now.
    pub(super) fn waited(&mut self, since: Instant) {
        self.waited = self.waited.saturating_add(since.elapsed());
    }
}
