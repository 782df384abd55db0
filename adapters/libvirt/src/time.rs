//! Deadlines without overflow.

use std::time::Duration;

use tokio::time::Instant;

/// Ten years, in practice never.
const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// The time after this duration.
pub(crate) fn deadline(after: Duration) -> Instant {
    Instant::now() + after.min(TEN_YEARS)
}
