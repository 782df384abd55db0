//! Time as the engine sees it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;

use crate::model::Timestamp;

/// A wall clock to write down, and a monotonic one to wait by.
#[async_trait]
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may jump.
    fn now(&self) -> Timestamp;

    /// Waits by the monotonic clock. Cancel safe.
    async fn sleep(&self, duration: Duration);
}

/// The machine's clocks. Under a paused tokio clock its waits are virtual.
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

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}
