//! Whose turn it is among the namespaces with pools and groups.
//!
//! The controller looks at pools and groups in rounds. In a round each namespace has one turn, in which its pools
//! and groups are looked at until the turn's time is used. A namespace that has more continues in the next round
//! where it stopped; every other one begins again. So a namespace waits for one turn of each other one,
//! however many pools those have.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use vsiflow_engine::model::EntityId;

/// The time that a namespace has in a round. A look that has begun is not interrupted.
pub(super) const TURN: Duration = Duration::from_millis(100);

/// What remains to be looked at, by namespace. Not persistent: a new controller begins again.
#[derive(Default)]
pub(super) struct ReconcileTurns(BTreeMap<String, VecDeque<EntityId>>);

impl ReconcileTurns {
    /// Begins a round over these pools and groups. A namespace whose last turn was too short continues with
    /// those that it had left.
    pub(super) fn begin(&mut self, due: BTreeMap<String, Vec<EntityId>>) {
        let mut left = std::mem::take(&mut self.0);
        for (namespace, entities) in due {
            let remaining = match left.remove(&namespace).filter(|left| !left.is_empty()) {
                Some(mut remaining) => {
                    let exist: BTreeSet<_> = entities.iter().collect();
                    remaining.retain(|entity| exist.contains(entity));
                    remaining
                }
                None => entities.into(),
            };
            self.0.insert(namespace, remaining);
        }
    }

    /// The namespaces of this round.
    pub(super) fn namespaces(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// The next pool or group of a namespace; `None` if all of its were looked at.
    pub(super) fn next_of(&mut self, namespace: &str) -> Option<EntityId> {
        self.0.get_mut(namespace)?.pop_front()
    }

    /// Whether a namespace had more than its turn allows.
    pub(super) fn are_unfinished(&self) -> bool {
        self.0.values().any(|left| !left.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(namespace: &str, count: usize) -> (String, Vec<EntityId>) {
        let ids = (0..count).map(|number| format!("pool/{namespace}-{number}"));
        let ids = ids.map(|id| id.parse().unwrap());
        (namespace.to_owned(), ids.collect())
    }

    /// A round in which the turn of a namespace allows so many looks; returns what was looked at.
    fn round(
        turns: &mut ReconcileTurns,
        due: &BTreeMap<String, Vec<EntityId>>,
        looks: usize,
    ) -> Vec<EntityId> {
        turns.begin(due.clone());
        let mut seen = Vec::new();
        for namespace in turns.namespaces() {
            seen.extend((0..looks).map_while(|_| turns.next_of(&namespace)));
        }
        seen
    }

    #[test]
    fn a_namespace_with_thousands_of_pools_delays_others_by_its_turn_alone() {
        let due = BTreeMap::from([pools("a", 5_000), pools("b", 1)]);
        let other = &due["b"][0];
        let (mut turns, mut seen) = (ReconcileTurns::default(), Vec::new());
        let mut rounds = 0;
        while rounds == 0 || turns.are_unfinished() {
            let looked = round(&mut turns, &due, 10);
            assert!(
                looked.len() <= 11 && looked.contains(other),
                "round {rounds}"
            );
            seen.extend(looked.into_iter().filter(|entity| entity != other));
            rounds += 1;
        }
        assert_eq!(seen, due["a"], "each of them once, in their order");
    }

    #[test]
    fn what_is_new_in_another_namespace_is_looked_at_in_the_next_round() {
        let mut due = BTreeMap::from([pools("a", 100)]);
        let mut turns = ReconcileTurns::default();
        round(&mut turns, &due, 10);
        due.extend([pools("b", 2)]);
        let looked = round(&mut turns, &due, 10);
        assert!(due["b"].iter().all(|new| looked.contains(new)));
    }

    #[test]
    fn what_is_gone_meanwhile_is_not_looked_at() {
        let mut due = BTreeMap::from([pools("a", 20)]);
        let mut turns = ReconcileTurns::default();
        round(&mut turns, &due, 10);
        let gone = due.get_mut("a").unwrap().split_off(15);
        let looked = round(&mut turns, &due, 10);
        assert_eq!(looked, due["a"][10..]);
        assert!(!looked.iter().any(|entity| gone.contains(entity)));
        assert!(!turns.are_unfinished());
    }
}
