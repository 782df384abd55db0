//! Limits the number of attempts at the same time in one lane (on one host).

use std::collections::{BTreeSet, HashMap};

use crate::model::{RunId, Text};

/// Counts attempts per lane and remembers which runs wait for a place.
pub(super) struct LaneLimits {
    most: usize,
    lanes: HashMap<Text, LaneLimit>,
    /// Lanes in which a place was freed and not yet offered to a waiting run.
    freed: BTreeSet<Text>,
}

#[derive(Default)]
struct LaneLimit {
    busy: usize,
    waiting: BTreeSet<RunId>,
}

impl LaneLimits {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            lanes: HashMap::new(),
            freed: BTreeSet::new(),
        }
    }

    /// Takes a place in the lane, or notes that `run` waits for one. The empty lane has no limit.
    pub(super) fn take(&mut self, lane: &Text, run: RunId) -> bool {
        if lane.is_empty() {
            return true;
        }
        let entry = self.lanes.entry(lane.clone()).or_default();
        let free = entry.busy < self.most;
        if free {
            entry.busy = entry.busy.saturating_add(1);
            entry.waiting.remove(&run);
        } else {
            entry.waiting.insert(run);
        }
        free
    }

    /// Frees a place.
    pub(super) fn give_back(&mut self, lane: &Text) {
        let Some(entry) = self.lanes.get_mut(lane) else {
            return;
        };
        entry.busy = entry.busy.saturating_sub(1);
        if !entry.waiting.is_empty() {
            self.freed.insert(lane.clone());
        } else if entry.busy == 0 {
            self.lanes.remove(lane);
        }
    }

    /// The runs to decide again because places are free: the oldest waiting runs, as many as there
    /// are places, not all of them. A place that none of them takes is offered to the next runs at
    /// the next call, until no run waits.
    pub(super) fn wake(&mut self) -> BTreeSet<RunId> {
        let mut woken = BTreeSet::new();
        let (most, lanes) = (self.most, &mut self.lanes);
        self.freed.retain(|lane| {
            let entry = lanes.get_mut(lane);
            let next = entry.map(|entry| entry.next(most)).unwrap_or_default();
            let offered = !next.is_empty();
            woken.extend(next);
            offered
        });
        woken
    }
}

impl LaneLimit {
    fn next(&mut self, most: usize) -> Vec<RunId> {
        let places = most.saturating_sub(self.busy);
        std::iter::from_fn(|| self.waiting.pop_first())
            .take(places)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ulid::Ulid;

    #[test]
    fn a_full_lane_makes_others_wait_until_a_place_is_given_back() {
        let (a, b) = (RunId(Ulid::from_parts(1, 1)), RunId(Ulid::from_parts(1, 2)));
        let lane = Text::new("host");
        let mut limits = LaneLimits::new(1);
        assert!(limits.take(&lane, a));
        assert!(!limits.take(&lane, b));
        assert!(
            limits.take(&Text::default(), b),
            "the empty lane has no limit"
        );
        assert!(limits.wake().is_empty(), "no place is free");
        limits.give_back(&lane);
        assert_eq!(limits.wake(), BTreeSet::from([b]));
        assert!(limits.take(&lane, b));
    }

    #[test]
    fn a_free_place_wakes_the_oldest_alone_however_many_wait() {
        let run = |n| RunId(Ulid::from_parts(n, 1));
        let lane = Text::new("host");
        let mut limits = LaneLimits::new(1);
        assert!(limits.take(&lane, run(0)));
        for n in (1..1_000).rev() {
            assert!(!limits.take(&lane, run(n)));
        }
        limits.give_back(&lane);
        assert_eq!(limits.wake(), BTreeSet::from([run(1)]));
        assert!(limits.take(&lane, run(1)));
        assert!(limits.wake().is_empty(), "the place is taken");
    }

    #[test]
    fn a_place_that_nobody_took_is_offered_until_nobody_waits() {
        let run = |n| RunId(Ulid::from_parts(n, 1));
        let lane = Text::new("host");
        let mut limits = LaneLimits::new(1);
        assert!(limits.take(&lane, run(0)));
        for n in 1..4 {
            assert!(!limits.take(&lane, run(n)));
        }
        limits.give_back(&lane);
        let offered: Vec<_> = std::iter::from_fn(|| limits.wake().pop_first()).collect();
        assert_eq!(offered, [run(1), run(2), run(3)]);
        assert!(limits.take(&lane, run(9)), "it is free all the while");
    }
}
