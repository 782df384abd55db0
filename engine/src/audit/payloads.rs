//! The payloads that events and states name.

use crate::{
    journal::StreamState,
    model::{EntityState, EventKind, Graph, NodeState, Payload, RunState, Work},
};

/// The payloads of an event.
pub(crate) fn payloads(kind: &EventKind) -> Vec<&Payload> {
    match kind {
        EventKind::Desired { desired, .. } => vec![desired],
        EventKind::StepSucceeded { output, .. } => vec![output],
        EventKind::RunStarted { graph, .. } => of_graph(graph).collect(),
        _ => Vec::new(),
    }
}

/// The payloads of a stream's state.
pub(crate) fn payloads_of(state: &StreamState) -> Vec<&Payload> {
    match state {
        StreamState::Entity(_, folded) => of_entity(&folded.state).into_iter().collect(),
        StreamState::Run(_, folded) => of_run(&folded.state).collect(),
        StreamState::Journal { .. } => Vec::new(),
    }
}

/// The desired state of an entity.
pub(crate) fn of_entity(state: &EntityState) -> Option<&Payload> {
    state.desired.as_ref().map(|desired| &desired.desired)
}

/// The parameters of a run's steps, and the outputs of the steps that succeeded.
pub(crate) fn of_run(state: &RunState) -> impl Iterator<Item = &Payload> {
    let outputs = state.nodes.values().filter_map(|node| match node {
        NodeState::Succeeded { output, .. } => Some(output),
        _ => None,
    });
    let graph = state.graph.iter();
    graph.flat_map(|graph| of_graph(graph)).chain(outputs)
}

fn of_graph(graph: &Graph) -> impl Iterator<Item = &Payload> {
    graph.nodes.iter().map(|node| match &node.work {
        Work::Step { params, .. } => params,
        Work::Entity { desired, .. } => desired,
    })
}
