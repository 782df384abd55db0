//! Decides what follows from a run's state.

use super::{
    event::{CancelMode, RunResult, Wait},
    failure::Failure,
    graph::{Graph, Node},
    state::{NodeState, RunPhase, RunState},
    text::Name,
};

/// A command to the executor. Carrying out a command twice is harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Record the start of an attempt, then attempt the node.
    Start {
        /// The node.
        node: Name,
        /// The attempt, from 1.
        attempt: u32,
    },
    /// Attempt the node again when the wait is over.
    ArmTimer {
        /// The node.
        node: Name,
        /// The wait.
        wait: Wait,
    },
    /// Stop the attempt of an interruptible node.
    Stop {
        /// The node.
        node: Name,
    },
    /// Record that the node was not reached.
    Skip {
        /// The node.
        node: Name,
    },
    /// Record the end of the run.
    Finish {
        /// How it ended.
        result: RunResult,
    },
}

/// Decides what follows from a run's state, by the graph with which it started.
///
/// A run that is to end (cancelled, superseded, or with a node that failed for good) starts nothing
/// more, stops the interruptible nodes, lets the others end, and finishes.
pub fn decide(graph: &Graph, state: &RunState) -> Vec<Command> {
    match state.phase {
        RunPhase::New | RunPhase::Finished(_) => Vec::new(),
        RunPhase::Active | RunPhase::Paused => match ending(graph, state) {
            Some(result) => wind_down(graph, state, result),
            None if state.phase == RunPhase::Paused => Vec::new(),
            None => graph
                .nodes
                .iter()
                .filter_map(|node| advance(node, state))
                .collect(),
        },
    }
}

fn ending(graph: &Graph, state: &RunState) -> Option<RunResult> {
    let failed = graph
        .nodes
        .iter()
        .find_map(|node| match state.nodes.get(&node.name) {
            Some(NodeState::Failed { failure, .. }) => {
                Some(RunResult::Failed(Failure::clone(failure)))
            }
            _ => None,
        });
    let succeeded = || {
        let has_succeeded = |node: &Node| {
            matches!(
                state.nodes.get(&node.name),
                Some(NodeState::Succeeded { .. })
            )
        };
        (graph.nodes.iter().all(has_succeeded)).then_some(RunResult::Succeeded)
    };
    let cancelled = || {
        state.cancel.map(|mode| match mode {
            CancelMode::User => RunResult::Cancelled,
            CancelMode::Superseded | CancelMode::Unwanted => RunResult::Superseded,
        })
    };
    // A newer desired state was recorded before the run ended: the run counts as superseded, even
    // if its last step still succeeded.
    let superseded =
        || (state.cancel == Some(CancelMode::Superseded)).then_some(RunResult::Superseded);
    failed
        .or_else(superseded)
        .or_else(succeeded)
        .or_else(cancelled)
}

fn wind_down(graph: &Graph, state: &RunState, result: RunResult) -> Vec<Command> {
    let running =
        |node: &&Node| matches!(state.nodes.get(&node.name), Some(NodeState::Running { .. }));
    if graph.nodes.iter().any(|node| running(&node)) {
        let watching = graph
            .nodes
            .iter()
            .filter(running)
            .filter(|node| node.interruptible);
        return watching
            .map(|node| Command::Stop {
                node: node.name.clone(),
            })
            .collect();
    }
    let unreached = |node: &&Node| {
        matches!(
            state.nodes.get(&node.name),
            Some(
                NodeState::Waiting
                    | NodeState::Ready { .. }
                    | NodeState::Delayed { .. }
                    | NodeState::Blocked { .. }
            )
        )
    };
    let skipped = graph.nodes.iter().filter(unreached);
    let mut commands: Vec<_> = skipped
        .map(|node| Command::Skip {
            node: node.name.clone(),
        })
        .collect();
    commands.push(Command::Finish { result });
    commands
}

fn advance(node: &Node, state: &RunState) -> Option<Command> {
    let name = || node.name.clone();
    match state.nodes.get(&node.name)? {
        NodeState::Waiting if is_free(node, state) => Some(Command::Start {
            node: name(),
            attempt: 1,
        }),
        NodeState::Ready { attempt } => Some(Command::Start {
            node: name(),
            attempt: attempt.saturating_add(1),
        }),
        NodeState::Delayed { retry: wait, .. }
        | NodeState::Blocked {
            recheck: Some(wait),
            ..
        } => Some(Command::ArmTimer {
            node: name(),
            wait: *wait,
        }),
        _ => None,
    }
}

fn is_free(node: &Node, state: &RunState) -> bool {
    let has_succeeded = |name| matches!(state.nodes.get(name), Some(NodeState::Succeeded { .. }));
    node.after.iter().all(has_succeeded)
}
