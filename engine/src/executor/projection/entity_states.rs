//! The states of entities, found by their ids in one step and listed in order.
//!
//! Ids are long texts that begin alike: among ten thousand entities a search by comparing them costs
//! more than the rest of what is done with an event.

use std::{
    collections::{BTreeSet, HashMap, hash_map::Entry},
    ops::RangeFrom,
};

use crate::{
    journal::Folded,
    model::{EntityId, EntityState},
};

type EntityFolded = Folded<EntityState>;

/// The states of entities.
#[derive(Clone, Debug, Default)]
pub(in crate::executor) struct EntityStates {
    states: HashMap<EntityId, EntityFolded>,
    /// The ids of all of them.
    order: BTreeSet<EntityId>,
}

impl EntityStates {
    pub(in crate::executor) fn get(&self, id: &EntityId) -> Option<&EntityFolded> {
        self.states.get(id)
    }

    pub(in crate::executor) fn get_mut(&mut self, id: &EntityId) -> Option<&mut EntityFolded> {
        self.states.get_mut(id)
    }

    /// The state of an entity, an empty one where there was none.
    pub(in crate::executor) fn of(&mut self, id: &EntityId) -> &mut EntityFolded {
        match self.states.entry(id.clone()) {
            Entry::Occupied(there) => there.into_mut(),
            Entry::Vacant(place) => {
                self.order.insert(id.clone());
                place.insert(EntityFolded::default())
            }
        }
    }

    pub(in crate::executor) fn insert(&mut self, id: EntityId, state: EntityFolded) {
        match self.states.entry(id) {
            Entry::Occupied(mut there) => {
                there.insert(state);
            }
            Entry::Vacant(place) => {
                self.order.insert(place.key().clone());
                place.insert(state);
            }
        }
    }

    /// Puts in what another one has.
    pub(in crate::executor) fn take_over(&mut self, other: Self) {
        for (id, state) in other.states {
            self.insert(id, state);
        }
    }

    /// The ids in order.
    pub(in crate::executor) fn keys(&self) -> impl Iterator<Item = &EntityId> {
        self.order.iter()
    }

    /// The states in the order of their ids.
    pub(in crate::executor) fn values(&self) -> impl Iterator<Item = &EntityFolded> {
        self.iter().map(|(_, state)| state)
    }

    /// All in the order of their ids.
    pub(in crate::executor) fn iter(&self) -> impl Iterator<Item = (&EntityId, &EntityFolded)> {
        self.order.iter().filter_map(|id| self.with_state(id))
    }

    /// All from an id on, in order.
    pub(in crate::executor) fn range(
        &self,
        ids: RangeFrom<EntityId>,
    ) -> impl Iterator<Item = (&EntityId, &EntityFolded)> {
        self.order.range(ids).filter_map(|id| self.with_state(id))
    }

    fn with_state<'a>(&'a self, id: &'a EntityId) -> Option<(&'a EntityId, &'a EntityFolded)> {
        Some((id, self.states.get(id)?))
    }
}

impl FromIterator<(EntityId, EntityFolded)> for EntityStates {
    fn from_iter<T: IntoIterator<Item = (EntityId, EntityFolded)>>(all: T) -> Self {
        let states: HashMap<_, _> = all.into_iter().collect();
        let order = states.keys().cloned().collect();
        Self { states, order }
    }
}
