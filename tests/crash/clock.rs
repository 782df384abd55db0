//! A clock in virtual time whose wall clock tests may set.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use tokio::time::Instant;
use vsiflow_engine::{clock::Clock, model::Timestamp};

const BEGIN: i64 = 1_800_000_000_000;

/// Virtual time, and the offset of the wall clock from it.
pub struct TestClock {
    start: Instant,
    off_ms: AtomicI64,
    /// The number of readings, which is added to each. So each reading is later than the one before, and
    /// identifiers made from it sort in the order of their creation.
    readings: AtomicU64,
    /// How many more waits will end. A sabotaged clock runs out of them.
    waits: AtomicU64,
}

impl TestClock {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            off_ms: AtomicI64::new(0),
            readings: AtomicU64::new(0),
            waits: AtomicU64::new(u64::MAX),
        }
    }

    /// Sets the wall clock forwards, or backwards.
    pub fn jump(&self, ms: i64) {
        self.off_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// After this many waits no wait ends any more.
    pub fn grant_only(&self, waits: u64) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    /// Milliseconds of virtual time so far.
    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap()
    }
}

#[async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.elapsed_ms()).unwrap();
        let reading = i64::try_from(self.readings.fetch_add(1, Ordering::Relaxed)).unwrap();
        let wall = BEGIN + elapsed + reading + self.off_ms.load(Ordering::Relaxed);
        Timestamp(u64::try_from(wall).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    async fn sleep(&self, duration: Duration) {
        if self.waits.load(Ordering::Relaxed) == 0 {
            return std::future::pending().await;
        }
        self.waits.fetch_sub(1, Ordering::Relaxed);
        tokio::time::sleep(duration).await;
    }
}
