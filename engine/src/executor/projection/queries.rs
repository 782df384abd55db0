//! Queries on a projection: single states, which runs wait for an entity, and obstacles.

use std::sync::Arc;

use super::Projection;
use crate::{
    model::{EntityId, EntityState, Name, NodeState, RunId, RunState, StreamId, Work},
    workflow::{EntityView, RunObstacle},
};

impl Projection {
    /// The runs, nodes and entities that wait for `entity` now.
    pub(in crate::executor) fn waiting_for(
        &self,
        entity: &EntityId,
    ) -> Vec<(RunId, Name, EntityId)> {
        let waiting = self.waiting.get(entity).into_iter().flatten();
        let runs = waiting.filter_map(|id| Some((*id, self.run(*id)?)));
        let nodes = runs.flat_map(|(id, run)| {
            let nodes = awaited_entities(run).filter(|(_, awaited)| *awaited == entity);
            nodes.filter_map(move |(node, _)| Some((id, node.clone(), run.entity.clone()?)))
        });
        nodes.collect()
    }

    /// Whether an open run has a node that waits for the entity, has waited for it or will.
    pub(in crate::executor) fn is_awaited(&self, entity: &EntityId) -> bool {
        let mut open_runs = self
            .runs
            .values()
            .map(|entry| &entry.state)
            .filter(|run| run.result().is_none());
        open_runs.any(|run| {
            let mut nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
            nodes.any(|node| matches!(&node.work, Work::Entity { entity: id, .. } if id == entity))
        })
    }

    pub(in crate::executor) fn next_seq(&self, stream: &StreamId) -> u64 {
        match stream {
            StreamId::Entity(id) => self.entities.get(id).map_or(0, |entry| entry.next_seq),
            StreamId::Run(id) => self.runs.get(id).map_or(0, |entry| entry.next_seq),
            StreamId::Journal => self.own.0,
        }
    }

    pub(in crate::executor) fn entity(&self, id: &EntityId) -> Option<&Arc<EntityState>> {
        self.entities.get(id).map(|entry| &entry.state)
    }

    pub(in crate::executor) fn run(&self, id: RunId) -> Option<&Arc<RunState>> {
        self.runs.get(&id).map(|entry| &entry.state)
    }

    pub(in crate::executor) fn active_run(&self, id: &EntityId) -> Option<RunId> {
        self.entity(id)?.active.as_ref().map(|active| active.run)
    }

    /// Whether an attempt of a step was begun in a run. True for a forgotten run: all its attempts
    /// were recorded, but its steps are no longer known.
    pub(in crate::executor) fn was_attempted(&self, run: RunId, step: &Name) -> bool {
        if self.forgotten.contains(&run) {
            return true;
        }
        self.run(run).is_some_and(|run| {
            let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
            let of_step = nodes.filter(
                |node| matches!(&node.work, Work::Step { step: named, .. } if named == step),
            );
            of_step
                .filter_map(|node| run.nodes.get(&node.name))
                .any(|state| state.attempt() > 0)
        })
    }

    /// The entity with its newest run and its obstacle.
    pub(in crate::executor) fn view<'a>(&'a self, id: &'a EntityId) -> Option<EntityView<'a>> {
        let entity = self.entity(id)?.as_ref();
        let newest = entity.active.as_ref().map(|run| run.run);
        let run = newest
            .or(entity.last.as_ref().map(|run| run.run))
            .and_then(|run| self.run(run))
            .map(AsRef::as_ref);
        let obstacle = run.and_then(|run| self.obstacle(run, DEPTH));
        Some(EntityView {
            id,
            entity,
            run,
            obstacle,
        })
    }

    fn obstacle<'a>(&'a self, run: &'a RunState, depth: u8) -> Option<RunObstacle<'a>> {
        let obstacle = run.obstacle().and_then(|(node, state)| {
            state.failure().map(|failure| RunObstacle {
                node,
                state,
                failure,
            })
        });
        obstacle.or_else(|| {
            self.awaited(run)
                .find_map(|awaited| self.obstacle(awaited, depth.checked_sub(1)?))
        })
    }

    /// The open runs of the entities that this run waits for.
    fn awaited<'a>(&'a self, run: &'a RunState) -> impl Iterator<Item = &'a RunState> {
        awaited_entities(run)
            .filter_map(|(_, entity)| self.active_run(entity))
            .filter_map(|id| self.run(id).map(AsRef::as_ref))
    }
}

/// How many levels of waiting entities are searched for an obstacle.
const DEPTH: u8 = 4;

/// The nodes of a run that wait for another entity now, and those entities.
pub(in crate::executor) fn awaited_entities(
    run: &RunState,
) -> impl Iterator<Item = (&Name, &EntityId)> {
    let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
    nodes.filter_map(|node| match (&node.work, run.nodes.get(&node.name)) {
        (Work::Entity { entity, .. }, Some(NodeState::Running { .. })) => {
            Some((&node.name, entity))
        }
        _ => None,
    })
}
