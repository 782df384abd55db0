//! Limits how often a server may renew the keys of a session: each key exchange takes some milliseconds of a thread that
//! others need, and a server may begin one whenever it likes.
//!
//! An honest server renews them after a volume or a time (`RekeyLimit` in its `sshd_config`), as this client does after
//! 1 GiB or an hour. A renewal that so much traffic paid for is not counted, nor one that comes long after the last.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A renewal counts only if it comes sooner after the one before.
const APART: Duration = Duration::from_secs(2);
/// A renewal counts only if fewer bytes were read and written since the one before.
const PAID_BY: u64 = 16 << 20;
/// How many renewals that count there may be within [`WITHIN`].
const MOST: usize = 4;
const WITHIN: Duration = Duration::from_secs(60);

/// The server renews the keys too often.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server renewed the keys of the session more than {MOST} times within {WITHIN:?}, each time less than {APART:?} \
     and 16 MiB after the time before"
)]
pub(super) struct TooManyRenewals;

/// The key exchanges of a session.
#[derive(Debug)]
pub(super) struct KeyRenewals {
    /// The bytes that the session has read and written.
    traffic: Arc<AtomicU64>,
    last: Option<KeyExchange>,
    /// When those were that count, the oldest first.
    hasty: VecDeque<Instant>,
}

#[derive(Debug)]
struct KeyExchange {
    at: Instant,
    traffic: u64,
}

impl KeyRenewals {
    pub(super) fn new(traffic: Arc<AtomicU64>) -> Self {
        Self {
            traffic,
            last: None,
            hasty: VecDeque::new(),
        }
    }

    /// Notes a key exchange. The first one makes the session and is no renewal.
    pub(super) fn note(&mut self) -> Result<(), TooManyRenewals> {
        let exchange = KeyExchange {
            at: Instant::now(),
            traffic: self.traffic.load(Ordering::Relaxed),
        };
        let is_hasty = |last: &KeyExchange| {
            exchange.at.duration_since(last.at) < APART
                && exchange.traffic.saturating_sub(last.traffic) < PAID_BY
        };
        if self.last.as_ref().is_some_and(is_hasty) {
            self.hasty.push_back(exchange.at);
        }
        let is_old = |at: &&Instant| exchange.at.duration_since(**at) >= WITHIN;
        while self.hasty.front().filter(is_old).is_some() {
            self.hasty.pop_front();
        }
        self.last = Some(exchange);
        if self.hasty.len() > MOST {
            return Err(TooManyRenewals);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
