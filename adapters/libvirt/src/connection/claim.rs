//! Decides who owns a queued call: the caller, who may still withdraw it, or the task, which writes it.
//!
//! Exactly one of the two wins, so a call that was sent is never reported as not sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

const QUEUED: u8 = 0;
const WRITTEN: u8 = 1;
const TAKEN_BACK: u8 = 2;

/// The task's side.
#[derive(Debug)]
pub(crate) struct ConnectionClaim(Arc<AtomicU8>);

/// The caller's side; withdraws the call when dropped.
#[derive(Debug)]
pub(crate) struct ClaimWaiter(Arc<AtomicU8>);

impl ConnectionClaim {
    pub(crate) fn new() -> (Self, ClaimWaiter) {
        let state = Arc::new(AtomicU8::new(QUEUED));
        (Self(Arc::clone(&state)), ClaimWaiter(state))
    }

    /// Whether the call may be written. After that it counts as sent.
    pub(crate) fn write(&self) -> bool {
        change(&self.0, WRITTEN)
    }
}

impl ClaimWaiter {
    /// Whether the call was withdrawn before it was written.
    pub(crate) fn take_back(&self) -> bool {
        change(&self.0, TAKEN_BACK)
    }
}

impl Drop for ClaimWaiter {
    fn drop(&mut self) {
        self.take_back();
    }
}

fn change(state: &AtomicU8, to: u8) -> bool {
    state
        .compare_exchange(QUEUED, to, Ordering::AcqRel, Ordering::Acquire)
        .is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_side_gets_the_call() {
        let (claim, waiting) = ConnectionClaim::new();
        assert!(claim.write());
        assert!(!waiting.take_back());
        let (given_up, abandoned) = ConnectionClaim::new();
        drop(abandoned);
        assert!(!given_up.write());
    }
}
