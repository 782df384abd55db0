//! When the writing thread polls for requests and when it sleeps.
//!
//! A caller that was just answered often sends its next request immediately. So the thread polls
//! for a moment before it sleeps, because waking it may take half as long as a sync. If many callers
//! were answered together and few have returned, it waits a part of a sync for the others. They
//! would otherwise wait for a whole one.

use std::time::{Duration, Instant};

use super::{super::sync::Patience, Commit, open_group::OpenGroup};

/// The longest that the thread polls for requests.
const POLL_MAX: Duration = Duration::from_micros(150);

/// A request that arrives within this time after a commit belongs to a sequence of requests.
const SEQUENCE: Duration = Duration::from_millis(1);

/// How requests arrived recently.
#[derive(Default)]
pub(super) struct Pace {
    /// The requests of the last commit, and how long it took.
    count: usize,
    took: Duration,
    ended: Option<Instant>,
    in_sequence: bool,
}

impl Pace {
    pub(super) fn committed(&mut self, count: usize, took: Duration) {
        (self.count, self.took) = (count, took);
        self.ended = Some(Instant::now());
    }

    /// Waits for a group that is worth a commit; false once no more requests can come.
    pub(super) fn wait<C: Commit>(&mut self, open: &OpenGroup<C>) -> bool {
        let mut patience = Patience::of(if self.in_sequence {
            (self.took / 2).min(POLL_MAX)
        } else {
            Duration::ZERO
        });
        while open.count() == 0 && !patience.is_over() {}
        if !open.wait() {
            return false;
        }
        self.in_sequence = self.ended.is_some_and(|ended| ended.elapsed() < SEQUENCE);
        self.wait_for_others(open);
        true
    }

    /// Waits until the group has half as many requests as the last one, for at most a quarter of
    /// the time the last commit took.
    fn wait_for_others<C: Commit>(&self, open: &OpenGroup<C>) {
        let mut patience = Patience::of((self.took / 4).min(POLL_MAX));
        while open.count() < self.count / 2 && !patience.is_over() {}
    }
}
