//! The payloads that events and states name.

use crate::{
    journal::StreamState,
    model::{EventKind, Graph, NodeState, Payload, Work},
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

/// The payloads of what a stream's events come to.
pub(crate) fn payloads_of(state: &StreamState) -> Vec<&Payload> {
    match state {
        StreamState::Entity(_, folded) => {
            let desired = folded.state.desired.as_ref();
            desired
                .map(|desired| &desired.desired)
                .into_iter()
                .collect()
        }
        StreamState::Run(_, folded) => {
            let graph = folded.state.graph.iter();
            let outputs = folded.state.nodes.values().filter_map(|node| match node {
                NodeState::Succeeded { output, .. } => Some(output),
                _ => None,
            });
            graph
                .flat_map(|graph| of_graph(graph))
                .chain(outputs)
                .collect()
        }
        StreamState::Journal { .. } => Vec::new(),
    }
}

fn of_graph(graph: &Graph) -> impl Iterator<Item = &Payload> {
    graph.nodes.iter().map(|node| match &node.work {
        Work::Step { params, .. } => params,
        Work::Entity { desired, .. } => desired,
    })
}
