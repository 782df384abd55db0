//! The outcome of a desired state: whether it is decided, and how.

use vsiflow_engine::{
    Notice,
    executor::Drive,
    model::{EntityId, Failure, RunId, Timestamp},
    step::ReconcileStatus,
    workflow::EntityView,
};

use super::{Fleet, FleetError, pool::is_worked_on};
use crate::phase::{Phase, is_gone};

/// The outcome of a desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The desired state is reached.
    Reached,
    /// The run failed.
    Failed(Failure),
    /// A person must first remove or decide something.
    Blocked(Failure),
    /// The user cancelled the run.
    Cancelled,
}

impl Fleet {
    /// The outcome of an entity's newest desired state, if it is decided.
    pub fn verdict(&self, entity: &EntityId) -> Option<Verdict> {
        if is_worked_on(entity) {
            if self.is_gone(entity) {
                return Some(Verdict::Reached);
            }
            return self.pools.verdict(entity, self.generation(entity));
        }
        let verdict = self.verdict_unless_paused(entity);
        verdict.or_else(|| self.paused())
    }

    /// The same for an entity that has runs, regardless of the global pause, which is no fault of its own.
    pub(super) fn verdict_unless_paused(&self, entity: &EntityId) -> Option<Verdict> {
        let unopened = || self.engine.unopened(entity).map(Verdict::Blocked);
        self.own_verdict(entity).or_else(unopened)
    }

    /// Whether an entity is deleted.
    pub(super) fn is_gone(&self, entity: &EntityId) -> bool {
        let state = self.engine.entity(entity);
        state.is_some_and(|state| is_gone(entity, &state))
    }

    /// The generation of an entity's newest desired state; 0 if it has none.
    pub(super) fn generation(&self, entity: &EntityId) -> u64 {
        let state = self.engine.entity(entity);
        let desired = state.as_ref().and_then(|state| state.desired.as_ref());
        desired.map_or(0, |desired| desired.generation)
    }

    /// The outcome of its runs alone.
    pub(super) fn own_verdict(&self, entity: &EntityId) -> Option<Verdict> {
        if let Some(why) = self.engine.unreadable(entity) {
            return Some(Verdict::Blocked(why.failure(entity)));
        }
        self.engine.view(entity, |view| verdict(&view)).flatten()
    }

    /// The recorded state of a VSI.
    pub fn phase(&self, entity: &EntityId) -> Phase {
        if self.engine.unreadable(entity).is_some() {
            return Phase::Unreadable;
        }
        let state = self.engine.entity(entity).and_then(|e| e.state.clone());
        let phase = state.and_then(|(name, _)| Phase::named(name.as_str()));
        phase.unwrap_or(Phase::Pending)
    }

    /// When a failed boot is retried automatically; `None` if it is not.
    pub fn next_try(&self, entity: &EntityId) -> Option<Timestamp> {
        let state = self.engine.entity(entity)?;
        state.next_try.map(|wait| wait.due)
    }

    /// Whether everything recorded for the entity is done, or cannot be done.
    pub fn is_settled(&self, entity: &EntityId) -> bool {
        let state = self.engine.entity(entity);
        state.is_none_or(|state| state.is_settled())
    }

    /// The failure that the entity's work is waiting on: it is retried, or it waits for a person.
    pub fn obstacle(&self, entity: &EntityId) -> Option<Failure> {
        self.engine
            .view(entity, |view| view.obstacle.map(|o| o.failure.clone()))
            .flatten()
            .or_else(|| self.engine.unopened(entity))
    }

    /// The current step of the entity's open run.
    pub fn step(&self, entity: &EntityId) -> Option<String> {
        let run = self.engine.entity(entity)?.active.as_ref()?.run;
        super::vsi::object::current_step(&*self.engine.run(run)?)
    }

    /// The entity that a run is for.
    pub fn entity_of(&self, run: RunId) -> Option<EntityId> {
        self.engine.run(run)?.entity.clone()
    }

    /// Waits until an entity's outcome is decided. Cancel safe.
    ///
    /// # Errors
    /// When the engine ends before that.
    pub async fn decided(&self, entity: &EntityId) -> Result<Verdict, FleetError> {
        let mut notices = self.engine.notices();
        let mut moved = self.pools.moved();
        self.continue_with_pool(entity);
        loop {
            if let Some(verdict) = self.verdict(entity) {
                return Ok(verdict);
            }
            use tokio::sync::broadcast::error::RecvError;
            let notice = tokio::select! {
                biased;
                notice = notices.recv() => notice,
                Ok(()) = moved.changed() => continue,
            };
            match notice {
                Ok(Notice::Ended) | Err(RecvError::Closed) => {
                    // Any call of the engine returns why it ended.
                    let refused = self.engine.drive(Drive::These(Vec::new())).await;
                    if let (Err(_), Some(error)) = (&refused, self.task_panicked()) {
                        return Err(error);
                    }
                    refused?;
                    return Err(FleetError::defect(
                        "the engine ended before the outcome was decided",
                    ));
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
            }
        }
    }
}

fn verdict(view: &EntityView<'_>) -> Option<Verdict> {
    match view.reconcile_status() {
        ReconcileStatus::Settled => Some(Verdict::Reached),
        ReconcileStatus::UnderWay => None,
        ReconcileStatus::Cancelled => Some(Verdict::Cancelled),
        ReconcileStatus::Failed(failure) => Some(Verdict::Failed(failure)),
        ReconcileStatus::Blocked(failure) => Some(Verdict::Blocked(failure)),
    }
}
