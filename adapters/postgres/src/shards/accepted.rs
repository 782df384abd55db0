//! Which requests a holder takes: those that were sent a short time ago, and each of them once.
//!
//! The database may be read and written by others than the processes of the set. So a request has a MAC with the time at
//! which it was sent ([`Sealer::seal_message`](crate::seal::Sealer)), and a holder remembers the MACs of the requests that
//! it took, as long as it would take them again. A request that is sent again has another time, and so another MAC.
//!
//! What this does not know is what an earlier holder took. So of the requests that were sent before the journal passed to
//! this holder, it takes those of the last [`BEFORE_HOLDING`], and those of the last [`MAX_AGE`] that an earlier
//! holder had begun. Of the latter only those are carried out that may be repeated.
//!
//! Once the clock is set back, this holder counts as one that takes the journal then: what it forgot while the clock was
//! ahead would keep out everything that is sent until that time comes again.

use std::{collections::BTreeSet, time::Duration};

/// How old a request may be.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// How far the clock of a sender may be ahead.
pub(crate) const CLOCK_TOLERANCE: Duration = Duration::from_secs(5 * 60);
/// How long before a holder took the journal a request may have been sent: a caller waits that long at the most.
pub(crate) const BEFORE_HOLDING: Duration = Duration::from_secs(2 * 60);
/// How many requests are remembered. If there are more, the oldest times are not accepted any more.
const REMEMBERED: usize = 1 << 16;

/// The MAC of a message.
pub(crate) type Tag = [u8; 32];

/// The requests that a holder took. Times are those since the Unix epoch.
#[derive(Debug)]
pub(crate) struct AcceptedRequests {
    /// New requests that were sent before are not taken.
    holding: Duration,
    /// Of requests that were sent before, it is not remembered which were taken.
    forgotten: Duration,
    /// The last time at which a request came.
    latest: Duration,
    taken: BTreeSet<(Duration, Tag)>,
}

impl AcceptedRequests {
    /// Those of a holder that takes its journal at this time.
    pub(crate) fn since(now: Duration) -> Self {
        Self {
            holding: now.saturating_sub(BEFORE_HOLDING),
            forgotten: Duration::ZERO,
            latest: now,
            taken: BTreeSet::new(),
        }
    }

    /// Takes a request that was sent at that time, or says why not. `resumes` if an earlier holder had begun it.
    pub(crate) fn take(
        &mut self,
        now: Duration,
        (sent, tag): (Duration, Tag),
        resumes: bool,
    ) -> Result<(), String> {
        if now.saturating_add(BEFORE_HOLDING) < self.latest {
            let by_s = self.latest.saturating_sub(now).as_secs();
            tracing::warn!(
                "the clock was set back by {by_s} s: requests are taken as by a new holder"
            );
            self.holding = now.saturating_sub(BEFORE_HOLDING);
            self.forgotten = Duration::ZERO;
        }
        self.latest = now;
        self.forget_before(now.saturating_sub(MAX_AGE));
        if sent < self.forgotten || (!resumes && sent < self.holding) {
            let seconds = now.saturating_sub(sent).as_secs();
            return Err(format!("it was sent {seconds} s ago, which is too long"));
        }
        if sent > now.saturating_add(CLOCK_TOLERANCE) {
            let seconds = sent.saturating_sub(now).as_secs();
            return Err(format!(
                "its sender's clock is {seconds} s ahead of this one"
            ));
        }
        if !self.taken.insert((sent, tag)) {
            return Err("it was taken before".to_owned());
        }
        if self.taken.len() > REMEMBERED
            && let Some((oldest, _)) = self.taken.pop_first()
        {
            // Times are in milliseconds.
            self.forget_before(oldest.saturating_add(Duration::from_millis(1)));
        }
        Ok(())
    }

    fn forget_before(&mut self, time: Duration) {
        self.forgotten = self.forgotten.max(time);
        self.taken = self.taken.split_off(&(self.forgotten, Tag::default()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);
    const LATER: Duration = Duration::from_secs(1_800_000_000 + 3600);

    #[test]
    fn a_request_is_taken_once_and_sent_again_once_more() {
        let mut accepted = AcceptedRequests::since(NOW);
        accepted.take(NOW, (NOW, [1; 32]), false).unwrap();
        let replayed = accepted.take(NOW, (NOW, [1; 32]), false).unwrap_err();
        assert_eq!(replayed, "it was taken before");
        accepted.take(NOW, (NOW, [2; 32]), false).unwrap();
        let after = NOW + MAX_AGE;
        assert!(accepted.take(after, (NOW, [1; 32]), false).is_err());
        let too_old = accepted.take(after + Duration::from_secs(1), (NOW, [1; 32]), false);
        assert!(too_old.unwrap_err().contains("901 s ago"));
    }

    #[test]
    fn a_request_that_is_too_old_or_from_the_future_is_refused() {
        let mut accepted = AcceptedRequests::since(NOW);
        let second = Duration::from_secs(1);
        for (sent, is_taken) in [
            (LATER - MAX_AGE, true),
            (LATER - MAX_AGE - second, false),
            (LATER + CLOCK_TOLERANCE, true),
            (LATER + CLOCK_TOLERANCE + second, false),
        ] {
            assert_eq!(
                accepted.take(LATER, (sent, [1; 32]), false).is_ok(),
                is_taken
            );
        }
        let mut resuming = AcceptedRequests::since(NOW);
        let waiting = NOW - BEFORE_HOLDING;
        resuming.take(NOW, (waiting, [1; 32]), false).unwrap();
        let before = (waiting - second, [2; 32]);
        assert!(resuming.take(NOW, before, false).is_err());
        resuming.take(NOW, before, true).unwrap();
        assert!(resuming.take(NOW, before, true).is_err());
        assert!(
            resuming
                .take(NOW, (NOW - MAX_AGE - second, [3; 32]), true)
                .is_err()
        );
    }

    #[test]
    fn after_the_clock_was_set_back_new_requests_are_taken_and_each_once() {
        let mut accepted = AcceptedRequests::since(NOW);
        accepted.take(NOW, (NOW, [1; 32]), false).unwrap();
        let ahead = NOW + Duration::from_secs(2 * 365 * 86_400);
        accepted.take(ahead, (ahead, [2; 32]), false).unwrap();
        let back = NOW + Duration::from_secs(600);
        accepted.take(back, (back, [3; 32]), false).unwrap();
        for (sent, tag) in [(back, 3), (ahead, 2), (NOW, 1)] {
            let again = accepted.take(back, (sent, [tag; 32]), false);
            assert!(again.is_err(), "{tag} is taken twice");
        }
        // Also if this process began while the clock was ahead.
        let mut from_ahead = AcceptedRequests::since(ahead);
        from_ahead.take(NOW, (NOW, [1; 32]), false).unwrap();
        let little = NOW - BEFORE_HOLDING;
        from_ahead.take(little, (little, [2; 32]), false).unwrap();
    }

    #[test]
    fn very_many_requests_take_bounded_memory_and_none_is_taken_twice() {
        let mut accepted = AcceptedRequests::since(NOW);
        let sent = |number: usize| NOW + Duration::from_millis(u64::try_from(number).unwrap());
        let many = REMEMBERED + 1_000;
        for number in 0..many {
            let at = sent(number);
            accepted.take(at, (at, [0; 32]), false).unwrap();
        }
        assert!(accepted.taken.len() <= REMEMBERED);
        for number in (0..many).step_by(97) {
            assert!(
                accepted
                    .take(sent(many), (sent(number), [0; 32]), false)
                    .is_err()
            );
        }
    }
}
