//! How many attempts may be under way in one lane (on one host).

use std::collections::{BTreeSet, HashMap};

use crate::model::{RunId, Text};

/// Counts attempts by lane and remembers who waits for a place.
pub(super) struct LaneLimits {
    most: usize,
    lanes: HashMap<Text, Lane>,
}

#[derive(Default)]
struct Lane {
    busy: usize,
    waiting: BTreeSet<RunId>,
}

impl LaneLimits {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            lanes: HashMap::new(),
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

    /// Gives a place back; the runs that waited for one are to be decided again.
    pub(super) fn give_back(&mut self, lane: &Text) -> BTreeSet<RunId> {
        let Some(entry) = self.lanes.get_mut(lane) else {
            return BTreeSet::new();
        };
        entry.busy = entry.busy.saturating_sub(1);
        let waiting = std::mem::take(&mut entry.waiting);
        if entry.busy == 0 {
            self.lanes.remove(lane);
        }
        waiting
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
        assert_eq!(limits.give_back(&lane), BTreeSet::from([b]));
        assert!(limits.take(&lane, b));
    }
}
