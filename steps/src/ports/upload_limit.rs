//! Limits the rate at which images are sent to a host.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

/// The rate limit that all uploads of images to a host share.
#[derive(Debug)]
pub struct UploadLimit {
    per_second: u64,
    /// The time at which the bytes so far have been sent at the permitted rate.
    paid: Mutex<Instant>,
}

impl UploadLimit {
    /// A limit in bytes per second, at least 1.
    pub fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1),
            paid: Mutex::new(Instant::now()),
        }
    }

    /// Waits until `bytes` more may be sent. Concurrent callers are served one after the other.
    ///
    /// If the future is dropped, the bytes count as sent.
    pub async fn pass(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let micros = bytes.saturating_mul(1_000_000) / self.per_second;
        let until = {
            let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
            // Unused capacity of the past is not saved up.
            let from = (*paid).max(Instant::now());
            *paid = from
                .checked_add(Duration::from_micros(micros))
                .unwrap_or(from);
            from
        };
        sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn two_who_send_share_the_limit() {
        let (limit, start) = (UploadLimit::new(1_000), Instant::now());
        let send = || async {
            for _ in 0..10 {
                limit.pass(250).await;
            }
        };
        tokio::join!(send(), send());
        let took = start.elapsed();
        assert!(took > Duration::from_millis(4_700), "{took:?}");
        assert!(took < Duration::from_millis(5_000), "{took:?}");
    }
}
