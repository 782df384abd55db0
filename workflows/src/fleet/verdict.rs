//! Whether the outcome of a wish is decided, and how.

use vsiflow_engine::{
    Notice,
    executor::Drive,
    model::{EntityId, Failure, NodeState, RunId, RunResult, Timestamp},
    workflow::EntityView,
};

use super::{Fleet, FleetError};

/// How a wish came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as wanted.
    Reached,
    /// It failed.
    Failed(Failure),
    /// Something has to be removed or decided first.
    Blocked(Failure),
    /// The user cancelled it.
    Cancelled,
}

impl Fleet {
    /// How the newest wish of an entity came out, if that is decided.
    pub fn verdict(&self, entity: &EntityId) -> Option<Verdict> {
        self.engine.view(entity, |view| verdict(&view)).flatten()
    }

    /// When a boot that failed is tried again by itself; none where it is not.
    pub fn next_try(&self, entity: &EntityId) -> Option<Timestamp> {
        let state = self.engine.entity(entity)?;
        state.next_try.map(|wait| wait.due)
    }

    /// The failure that the entity's work stands at now: it is tried again, or waits.
    pub fn obstacle(&self, entity: &EntityId) -> Option<Failure> {
        self.engine
            .view(entity, |view| view.obstacle.map(|o| o.failure.clone()))
            .flatten()
    }

    /// The entity that a run is for.
    pub fn entity_of(&self, run: RunId) -> Option<EntityId> {
        self.engine.run(run)?.entity.clone()
    }

    /// Waits until the outcome for an entity is decided. Cancel safe.
    ///
    /// # Errors
    /// When the engine ends before that.
    pub async fn decided(&self, entity: &EntityId) -> Result<Verdict, FleetError> {
        let mut notices = self.engine.notices();
        loop {
            if let Some(verdict) = self.verdict(entity) {
                return Ok(verdict);
            }
            use tokio::sync::broadcast::error::RecvError;
            match notices.recv().await {
                Ok(Notice::Ended) | Err(RecvError::Closed) => {
                    // Asking for anything tells why it ended.
                    self.engine.drive(Drive::These(Vec::new())).await?;
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
    let entity = view.entity;
    if entity.is_settled() {
        return Some(Verdict::Reached);
    }
    let desired = entity.desired.as_ref()?;
    if let Some(active) = &entity.active {
        // An older run that is about to be superseded says nothing of the newest wish.
        let obstacle = view
            .obstacle
            .filter(|_| active.generation == desired.generation)?;
        let stands = matches!(obstacle.state, NodeState::Blocked { .. });
        return stands.then(|| Verdict::Blocked(obstacle.failure.clone()));
    }
    let last = entity.last.as_ref()?;
    if last.generation != desired.generation || entity.attempted != desired.generation {
        return None;
    }
    match &last.result {
        RunResult::Failed(failure) => Some(Verdict::Failed(failure.clone())),
        RunResult::Cancelled => Some(Verdict::Cancelled),
        RunResult::Succeeded | RunResult::Superseded => None,
    }
}
