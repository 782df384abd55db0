//! Deadlines that cannot overflow.

use std::time::Duration;

use tokio::time::Instant;

/// As good as never.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The moment after so long.
pub(crate) fn deadline(after: Duration) -> Instant {
    Instant::now() + after.min(FAR)
}
