//! What the engine asks of those who know what an entity is.

use std::time::Duration;

use crate::model::{
    EntityId, EntityState, Failure, Graph, Name, NodeState, Precedence, RunState, Text,
};

/// Something wanted of an entity.
#[derive(Clone, Debug)]
pub struct Wish {
    /// The entity.
    pub entity: EntityId,
    /// The workflow that brings it there.
    pub workflow: Name,
    /// Its rank against what runs.
    pub precedence: Precedence,
    /// What is wanted, as JSON.
    pub desired: Vec<u8>,
}

/// What stands between a run and its end.
#[derive(Clone, Copy, Debug)]
pub struct Obstacle<'a> {
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
    pub obstacle: Option<Obstacle<'a>>,
}

/// Gives the graphs of workflows and the names of states. Pure: no input or output, no clock.
pub trait Workflows: Send + Sync + 'static {
    /// The graph that brings `entity` to what is wanted now.
    ///
    /// # Errors
    /// When what is wanted cannot be read; the wish is then refused or the run not opened.
    fn graph(
        &self,
        entity: &EntityId,
        state: &EntityState,
        workflow: &Name,
        desired: &[u8],
    ) -> Result<Graph, Failure>;

    /// The state the entity is in, and what led to it. A change is recorded.
    fn state(&self, view: &EntityView<'_>) -> Option<(Name, Text)>;

    /// How long after its run that failed just now another follows by itself; none where only a
    /// retry or a newer wish opens one. What it says is recorded.
    fn next_try(&self, _entity: &EntityId, _state: &EntityState) -> Option<Duration> {
        None
    }
}
