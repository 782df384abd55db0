//! What the engine asks of those who know what an entity is.

use std::{sync::Arc, time::Duration};

use crate::{
    model::{
        EntityId, EntityState, Failure, Graph, Name, NodeState, Precedence, RunId, RunResult,
        RunState, Text,
    },
    step::ReconcileStatus,
};

/// Something wanted of an entity.
#[derive(Clone, Debug)]
pub struct DesiredUpdate {
    /// The entity.
    pub entity: EntityId,
    /// The workflow that brings it there.
    pub workflow: Name,
    /// Its rank against what runs.
    pub precedence: Precedence,
    /// The desired state, as JSON.
    pub desired: Vec<u8>,
    /// The entity's generation that this was made from, where that matters: once another one is
    /// the newest, the desired state is refused.
    pub made_from: Option<u64>,
}

/// An entity and its runs, as a graph for it is made.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The entity.
    pub id: &'a EntityId,
    /// What its stream tells.
    pub entity: &'a EntityState,
    /// Finds a run of it; none where nothing more is known of it.
    pub runs: &'a dyn Fn(RunId) -> Option<Arc<RunState>>,
}

/// What stands between a run and its end.
#[derive(Clone, Copy, Debug)]
pub struct RunObstacle<'a> {
    /// The node; of the run waited for, where the entity's own run waits for another entity.
    pub node: &'a Name,
    /// Where the node stands.
    pub state: &'a NodeState,
    /// The failure it stands at.
    pub failure: &'a Failure,
}

/// An entity, its open or newest run, and what stands in its way.
#[derive(Clone, Copy, Debug)]
pub struct EntityView<'a> {
    /// The entity.
    pub id: &'a EntityId,
    /// What its stream tells.
    pub entity: &'a EntityState,
    /// Its open run, or the one that ended last.
    pub run: Option<&'a RunState>,
    /// What stands in its way, looking through to the entities it waits for.
    pub obstacle: Option<RunObstacle<'a>>,
}

impl EntityView<'_> {
    /// How the newest desired state stands.
    pub fn reconcile_status(&self) -> ReconcileStatus {
        let entity = self.entity;
        let newest = entity.desired.as_ref().map(|desired| desired.generation);
        if entity.is_settled() {
            return ReconcileStatus::Settled;
        }
        if let Some(active) = &entity.active {
            // An older run that is about to be superseded says nothing of the newest desired state.
            let obstacle = self
                .obstacle
                .filter(|_| self.concerns_newest(active.generation));
            let stands = obstacle.filter(|o| matches!(o.state, NodeState::Blocked { .. }));
            return stands.map_or(ReconcileStatus::UnderWay, |o| {
                ReconcileStatus::Blocked(o.failure.clone())
            });
        }
        let last = entity
            .last
            .as_ref()
            .filter(|last| Some(last.generation) == newest && Some(entity.attempted) == newest);
        match last.map(|last| &last.result) {
            Some(RunResult::Failed(failure)) => ReconcileStatus::Failed(failure.clone()),
            Some(RunResult::Cancelled) => ReconcileStatus::Cancelled,
            Some(RunResult::Succeeded | RunResult::Superseded) | None => ReconcileStatus::UnderWay,
        }
    }

    /// Whether what the open run stands at keeps the newest desired state from going on: that is its own,
    /// or it waits for the run's end.
    fn concerns_newest(&self, generation: u64) -> bool {
        let desired = self.entity.desired.as_ref();
        desired.is_some_and(|desired| {
            desired.generation == generation || desired.precedence == Precedence::Queue
        })
    }
}

/// Gives the graphs of workflows and the names of states. Pure: no input or output, no clock.
pub trait Workflows: Send + Sync + 'static {
    /// The graph that brings the entity to its desired state.
    ///
    /// # Errors
    /// When the desired state cannot be read; it is then refused or the run not opened.
    fn graph(&self, at: &Situation<'_>, workflow: &Name, desired: &[u8]) -> Result<Graph, Failure>;

    /// The state the entity is in, and what led to it. A change is recorded.
    fn state(&self, view: &EntityView<'_>) -> Option<(Name, Text)>;

    /// How long after its run that failed just now another follows by itself; none where only a
    /// retry or a newer desired state opens one. What it says is recorded.
    fn next_try(&self, _entity: &EntityId, _state: &EntityState) -> Option<Duration> {
        None
    }
}
