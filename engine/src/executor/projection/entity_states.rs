//! The states of entities, with lookup by hash and listing in the order of their ids.
//!
//! Ids are long texts with equal beginnings. Among ten thousand entities, a lookup that compares
//! them would cost more than all other work for an event.

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
    /// The ids of all states.
    order: BTreeSet<EntityId>,
}

impl EntityStates {
    pub(in crate::executor) fn get(&self, id: &EntityId) -> Option<&EntityFolded> {
        self.states.get(id)
    }

    pub(in crate::executor) fn get_mut(&mut self, id: &EntityId) -> Option<&mut EntityFolded> {
        self.states.get_mut(id)
    }

    /// The state of an entity; inserts an empty one if there is none.
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

    /// Inserts all states of `other`.
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

    /// All ids and states, in order.
    pub(in crate::executor) fn iter(&self) -> impl Iterator<Item = (&EntityId, &EntityFolded)> {
        self.order.iter().filter_map(|id| self.with_state(id))
    }

    /// All ids and states from an id on, in order.
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
