//! The `Workflows` trait, which defines entities for the engine: their graphs and the names of
//! their states.

use std::{sync::Arc, time::Duration};

use ulid::Ulid;

use crate::{
    model::{
        EntityId, EntityState, Failure, Graph, Name, NodeState, Precedence, RunId, RunResult,
        RunState, Text, Warrant, WarrantId,
    },
    step::ReconcileStatus,
};

/// A new desired state for an entity.
#[derive(Clone, Debug)]
pub struct DesiredUpdate {
    /// The entity.
    pub entity: EntityId,
    /// The workflow that brings the entity to it.
    pub workflow: Name,
    /// Its rank relative to the open run.
    pub precedence: Precedence,
    /// The desired state, as JSON.
    pub desired: Vec<u8>,
    /// The generation on which it is based, if that matters: once the entity has a newer
    /// generation, the desired state is refused.
    pub made_from: Option<u64>,
    /// What it permits to destroy; recorded in the same batch.
    pub orders: Vec<DestructionOrder>,
    /// The acts whose open orders for the entity are void with it.
    pub voids: Vec<Name>,
}

/// An order to destroy an object of an entity, given with a desired state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestructionOrder {
    /// The object.
    pub object: Text,
    /// The act that destroys it, such as `rebuild`.
    pub act: Name,
    /// What was shown to whom gave it, or by which policy it was given.
    pub shown: Text,
}

impl EntityState {
    /// The state once these orders are recorded, for what is decided before they are.
    #[must_use]
    pub fn with_orders(&self, orders: &[DestructionOrder]) -> Self {
        let mut state = self.clone();
        state.objects.warrants.retain(|_, warrant| {
            let mut new = orders.iter();
            let is_replaced = new.any(|order| warrant.is_replaced_by(&order.object, &order.act));
            warrant.spent.is_some() || !is_replaced
        });
        for (number, order) in (0..).zip(orders) {
            let warrant = Warrant {
                object: order.object.clone(),
                act: order.act.clone(),
                spent: None,
            };
            let id = WarrantId(Ulid::from_parts(0, number));
            state.objects.warrants.insert(id, warrant);
        }
        state
    }
}

/// An entity and its runs, as input for building a graph.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The entity.
    pub id: &'a EntityId,
    /// Its recorded state.
    pub entity: &'a EntityState,
    /// Finds one of its runs; `None` if the run's state is no longer stored.
    pub runs: &'a dyn Fn(RunId) -> Option<Arc<RunState>>,
}

/// The node that keeps a run from ending.
#[derive(Clone, Copy, Debug)]
pub struct RunObstacle<'a> {
    /// The node; if the entity's own run waits for another entity, a node of that entity's run.
    pub node: &'a Name,
    /// The state of the node.
    pub state: &'a NodeState,
    /// The failure of the node.
    pub failure: &'a Failure,
}

/// An entity, its open or newest run, and its obstacle.
#[derive(Clone, Copy, Debug)]
pub struct EntityView<'a> {
    /// The entity.
    pub id: &'a EntityId,
    /// Its recorded state.
    pub entity: &'a EntityState,
    /// Its open run, or the one that ended last.
    pub run: Option<&'a RunState>,
    /// Its obstacle, found also in the runs of the entities for which it waits.
    pub obstacle: Option<RunObstacle<'a>>,
}

impl EntityView<'_> {
    /// How far the newest desired state is reconciled.
    pub fn reconcile_status(&self) -> ReconcileStatus {
        let entity = self.entity;
        let newest = entity.desired.as_ref().map(|desired| desired.generation);
        if entity.is_settled() {
            return ReconcileStatus::Settled;
        }
        if let Some(active) = &entity.active {
            // An older run that is about to be superseded says nothing about the newest desired
            // state.
            let obstacle = self
                .obstacle
                .filter(|_| self.concerns_newest(active.generation));
            let blocked = obstacle.filter(|o| matches!(o.state, NodeState::Blocked { .. }));
            return blocked.map_or(ReconcileStatus::UnderWay, |o| {
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

    /// Whether the open run's obstacle also blocks the newest desired state: the run works for it,
    /// or it waits for the end of that run.
    fn concerns_newest(&self, generation: u64) -> bool {
        let desired = self.entity.desired.as_ref();
        desired.is_some_and(|desired| {
            desired.generation == generation || desired.precedence == Precedence::Queue
        })
    }
}

/// Builds the graphs of workflows and names the states of entities. Pure: no input or output, no
/// clock.
pub trait Workflows: Send + Sync + 'static {
    /// The graph that brings the entity to its desired state.
    ///
    /// # Errors
    /// When the desired state cannot be read; it is then refused, or the run is not opened.
    fn graph(&self, at: &Situation<'_>, workflow: &Name, desired: &[u8]) -> Result<Graph, Failure>;

    /// The current state of the entity, and a detail. A change is recorded.
    fn state(&self, view: &EntityView<'_>) -> Option<(Name, Text)>;

    /// The order that a standing policy of the entity gives for one of its objects; `None` if only a request
    /// can give one. Asked when a step is about to destroy the object and no order is open.
    fn standing_order(
        &self,
        _entity: &EntityId,
        _state: &EntityState,
        _object: &str,
    ) -> Option<DestructionOrder> {
        None
    }

    /// How long after a run that has just failed another one follows automatically; `None` if only
    /// a retry or a newer desired state opens one. The answer is recorded.
    fn next_try(&self, _entity: &EntityId, _state: &EntityState) -> Option<Duration> {
        None
    }
}
