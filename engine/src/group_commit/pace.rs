//! When the thread looks for requests again and when it sleeps.
//!
//! Who was just answered often comes back at once. So the thread looks for a moment before it
//! sleeps, as waking it may take half as long as a sync; and where many were answered together and
//! few are back, it waits a part of a sync for the others, who would have to wait for a whole one.

use std::time::{Duration, Instant};

use super::{super::sync::Patience, Commit, open_group::OpenGroup};

/// The longest that the thread looks for a request before it sleeps.
const WATCH: Duration = Duration::from_micros(150);

/// A request that comes so soon after a commit belongs to a sequence of them.
const SEQUENCE: Duration = Duration::from_millis(1);

/// How requests came lately.
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

    /// Waits for a group that is worth a commit; false where none comes any more.
    pub(super) fn wait<C: Commit>(&mut self, open: &OpenGroup<C>) -> bool {
        let mut patience = Patience::of(if self.in_sequence {
            (self.took / 2).min(WATCH)
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

    /// Until the group is about as large as the one before it, or for a part of a sync.
    fn wait_for_others<C: Commit>(&self, open: &OpenGroup<C>) {
        let mut patience = Patience::of((self.took / 4).min(WATCH));
        while open.count() < self.count / 2 && !patience.is_over() {}
    }
}
