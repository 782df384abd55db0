//! The engine's clocks.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use tokio::time::Instant;

use crate::model::Timestamp;

/// A wall clock for timestamps, and a monotonic clock for waiting.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may jump.
    fn now(&self) -> Timestamp;

    /// The monotonic clock: time since some moment of this process. It never jumps.
    fn monotonic(&self) -> Duration;

    /// Waits by the monotonic clock. Cancel safe.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clocks. If tokio's clock is paused, waits are virtual.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn monotonic(&self) -> Duration {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        let instant = Instant::now();
        instant.saturating_duration_since(*FIRST.get_or_init(|| instant))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
