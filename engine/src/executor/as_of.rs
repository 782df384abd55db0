//! The state of a journal as of a past offset.

use std::{collections::BTreeMap, sync::Arc};

use super::projection::{Projection, UnreadableEntity};
use crate::{
    journal::{Journal, JournalError, Offset, States},
    model::{EntityId, EntityState, RunId, RunState},
};

/// Every entity and run as of an offset, read-only.
#[derive(Debug)]
pub struct StateAsOf(Projection);

impl StateAsOf {
    /// Folds the events before `offset`, starting from the nearest base.
    ///
    /// Cancel safety: nothing is changed.
    ///
    /// # Errors
    /// When the journal cannot be read, or events that would have to be folded are damaged.
    pub async fn load(journal: &dyn Journal, offset: Offset) -> Result<Self, JournalError> {
        Projection::as_of(journal, offset).await.map(Self)
    }

    /// Every entity that existed.
    pub fn entities(&self) -> BTreeMap<EntityId, Arc<EntityState>> {
        let entities = self.0.entities.iter();
        entities
            .map(|(id, folded)| (id.clone(), folded.state.clone()))
            .collect()
    }

    /// A run, if its state was retained.
    pub fn run(&self, id: RunId) -> Option<Arc<RunState>> {
        self.0.run(id).cloned()
    }

    /// The entities whose events cannot be understood.
    pub fn unreadable(&self) -> &BTreeMap<EntityId, UnreadableEntity> {
        &self.0.unreadable
    }

    pub(super) fn into_projection(self) -> Projection {
        self.0
    }

    /// All states, as a base holds them.
    pub fn states(&self) -> States {
        self.0.states()
    }
}
