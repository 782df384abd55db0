//! The data that the control loop shares with the handles of the engine.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use tokio::sync::broadcast;

use super::{notice::Notice, projection::Projection};
use crate::{
    audit::SigningKey,
    model::{EntityId, EntityState, Failure, Name, Objects, RunId, Text},
    step::{ReconcileStatus, Recorded},
};

/// Data shared by the control loop; it contains only durable states.
pub(super) struct EngineShared {
    projection: RwLock<Projection>,
    unopened: Mutex<BTreeMap<EntityId, Failure>>,
    /// Entities that changed since the last `drain_touched`; all of them at first.
    touched: Mutex<HashSet<EntityId>>,
    pub(super) notices: broadcast::Sender<Notice>,
    /// The key that signs bases.
    pub(super) signer: OnceLock<Arc<SigningKey>>,
}

impl EngineShared {
    pub(super) fn new(projection: Projection, notices: broadcast::Sender<Notice>) -> Self {
        Self {
            touched: Mutex::new(projection.entities.keys().cloned().collect()),
            projection: RwLock::new(projection),
            unopened: Mutex::default(),
            notices,
            signer: OnceLock::new(),
        }
    }

    /// Passes the durable states to `look`, which must be quick.
    pub(super) fn projection<T>(&self, look: impl FnOnce(&Projection) -> T) -> T {
        look(
            &self
                .projection
                .read()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Why no run was opened for the desired state of an entity.
    pub(super) fn unopened(&self, entity: &EntityId) -> Option<Failure> {
        let unopened = self.unopened.lock().unwrap_or_else(PoisonError::into_inner);
        unopened.get(entity).cloned()
    }

    /// Stores why no run was opened. `None` removes the reason, so that it is tried again.
    pub(super) fn set_unopened(&self, entity: &EntityId, why: Option<Failure>) {
        let mut unopened = self.unopened.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(failure) => unopened.insert(entity.clone(), failure),
            None => unopened.remove(entity),
        };
    }

    /// Takes the entities that changed since the last call.
    pub(super) fn drain_touched(&self) -> BTreeSet<EntityId> {
        let touched = self.touched.lock();
        let touched = std::mem::take(&mut *touched.unwrap_or_else(PoisonError::into_inner));
        touched.into_iter().collect()
    }

    /// Drops the states of runs.
    pub(super) fn forget(&self, runs: &BTreeSet<RunId>) {
        let mut projection = self
            .projection
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        projection.forget(runs);
    }

    /// Takes over changed states, after they became durable.
    pub(super) fn publish(&self, changed: Projection) {
        let mut projection = self
            .projection
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.extend(changed.entities.keys().cloned());
        projection.take_over(changed);
    }
}

impl Recorded for EngineShared {
    fn was_attempted(&self, run: RunId, step: &Name) -> bool {
        self.projection(|projection| projection.was_attempted(run, step))
    }

    fn status_of(&self, id: &EntityId) -> Option<ReconcileStatus> {
        self.projection(|projection| projection.view(id).map(|view| view.reconcile_status()))
    }

    fn was_intended(&self, id: &EntityId, step: &Name) -> bool {
        let intended = |entity: &Arc<EntityState>| entity.intents.contains(step);
        self.projection(|projection| projection.entity(id).is_some_and(intended))
    }

    fn has_open_run(&self, id: &EntityId) -> bool {
        self.projection(|projection| projection.active_run(id).is_some())
    }

    fn is_awaited(&self, id: &EntityId) -> bool {
        self.projection(|projection| projection.is_awaited(id))
    }

    fn objects_of(&self, owner: &EntityId) -> Option<Objects> {
        let objects = |entity: &Arc<EntityState>| entity.objects.clone();
        self.projection(|projection| projection.entity(owner).map(objects))
    }

    fn identity_of(&self, owner: &EntityId, object: &Text) -> Option<Text> {
        let identity = |entity: &Arc<EntityState>| entity.objects.made.get(object).cloned();
        self.projection(|projection| projection.entity(owner).and_then(identity))
    }
}
