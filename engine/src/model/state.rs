//! The state of a run, folded from its stream.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    divergence::Divergence,
    event::{CancelMode, Event, EventKind, Outcome, RunResult, Wait},
    failure::Failure,
    graph::Graph,
    id::{EntityId, Timestamp},
    payload::Payload,
    text::Name,
};

/// The state of a node. Failures are on the heap, because every node of every run needs memory for
/// the largest variant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Its predecessors are not done, or it has not started yet.
    Waiting,
    /// An attempt is in progress, or was when the process died.
    Running {
        /// The attempt.
        attempt: u32,
    },
    /// Is to be attempted again now.
    Ready {
        /// The newest attempt so far.
        attempt: u32,
    },
    /// Is to be attempted again when the wait is over.
    Delayed {
        /// The newest attempt so far.
        attempt: u32,
        /// The failure.
        failure: Box<Failure>,
        /// The wait.
        retry: Wait,
    },
    /// Waits until a user removes the cause.
    Blocked {
        /// The newest attempt so far.
        attempt: u32,
        /// The cause.
        failure: Box<Failure>,
        /// When the engine tries again; `None` if only new input or `retry` helps.
        recheck: Option<Wait>,
    },
    /// Done.
    Succeeded {
        /// The attempt that succeeded.
        attempt: u32,
        /// What it changed.
        outcome: Outcome,
        /// The output, for later nodes.
        output: Payload,
        /// When that was recorded.
        at: Timestamp,
    },
    /// Failed for good.
    Failed {
        /// The attempt that failed.
        attempt: u32,
        /// The failure.
        failure: Box<Failure>,
    },
    /// Not reached, or abandoned.
    Skipped {
        /// The newest attempt, which may have changed something; 0 if there was none.
        attempt: u32,
    },
}

impl NodeState {
    /// The newest attempt so far; 0 before the first.
    pub fn attempt(&self) -> u32 {
        match self {
            Self::Waiting => 0,
            Self::Running { attempt }
            | Self::Skipped { attempt }
            | Self::Ready { attempt }
            | Self::Delayed { attempt, .. }
            | Self::Blocked { attempt, .. }
            | Self::Succeeded { attempt, .. }
            | Self::Failed { attempt, .. } => *attempt,
        }
    }

    /// The failure that the node currently has, if any.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Delayed { failure, .. }
            | Self::Blocked { failure, .. }
            | Self::Failed { failure, .. } => Some(failure),
            _ => None,
        }
    }
}

/// The phase of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RunPhase {
    /// No event yet.
    #[default]
    New,
    /// In progress.
    Active,
    /// Starts nothing more until it is resumed.
    Paused,
    /// Ended.
    Finished(RunResult),
}

/// A run, folded from its stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunState {
    /// The phase of the run.
    pub phase: RunPhase,
    /// The entity.
    pub entity: Option<EntityId>,
    /// The generation.
    pub generation: u64,
    /// The graph with which it started.
    pub graph: Option<Arc<Graph>>,
    /// Every node of the graph.
    pub nodes: BTreeMap<Name, NodeState>,
    /// Why the run is to stop, if it is.
    pub cancel: Option<CancelMode>,
}

impl RunState {
    /// Folds one event of the run's stream into the state.
    ///
    /// # Errors
    /// [`Divergence`] when the event cannot follow what came before; the state is unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), Divergence> {
        let kind = &event.kind;
        match (&self.phase, kind) {
            (
                RunPhase::New,
                EventKind::RunStarted {
                    entity,
                    generation,
                    graph,
                },
            ) => {
                self.begin(entity, *generation, graph);
                Ok(())
            }
            (RunPhase::New, _) => Err(Divergence::new(kind, "the run has not started")),
            (RunPhase::Finished(_), _) => Err(Divergence::new(kind, "the run is over")),
            _ => self.apply_to_started(kind, event.at),
        }
    }

    fn begin(&mut self, entity: &EntityId, generation: u64, graph: &Graph) {
        self.phase = RunPhase::Active;
        self.entity = Some(entity.clone());
        self.generation = generation;
        self.nodes = graph
            .nodes
            .iter()
            .map(|node| (node.name.clone(), NodeState::Waiting))
            .collect();
        self.graph = Some(Arc::new(graph.clone()));
    }

    fn apply_to_started(&mut self, kind: &EventKind, at: Timestamp) -> Result<(), Divergence> {
        match kind {
            EventKind::StepStarted { node, attempt } => self.start(kind, node, *attempt),
            EventKind::StepSucceeded {
                node,
                attempt,
                outcome,
                output,
            } => {
                let next = NodeState::Succeeded {
                    attempt: *attempt,
                    outcome: *outcome,
                    output: output.clone(),
                    at,
                };
                self.end(kind, node, *attempt, next)
            }
            EventKind::StepFailed {
                node,
                attempt,
                failure,
                retry,
            } => {
                let (attempt, failure) = (*attempt, Box::new(failure.clone()));
                let next = match *retry {
                    Some(retry) => NodeState::Delayed {
                        attempt,
                        failure,
                        retry,
                    },
                    None => NodeState::Failed { attempt, failure },
                };
                self.end(kind, node, attempt, next)
            }
            EventKind::StepBlocked {
                node,
                attempt,
                failure,
                recheck,
            } => {
                let next = NodeState::Blocked {
                    attempt: *attempt,
                    failure: Box::new(failure.clone()),
                    recheck: *recheck,
                };
                self.end(kind, node, *attempt, next)
            }
            EventKind::StepInterrupted { node, attempt } => {
                self.end(kind, node, *attempt, NodeState::Ready { attempt: *attempt })
            }
            EventKind::StepSkipped { node } => self.skip(kind, node),
            EventKind::TimerDue { node } => self.timer_due(kind, node),
            EventKind::Signal { .. } => {
                self.nodes.values_mut().for_each(wake);
                Ok(())
            }
            EventKind::CancelRequested { mode } => {
                self.cancel.get_or_insert(*mode);
                Ok(())
            }
            EventKind::Paused => {
                self.phase = RunPhase::Paused;
                Ok(())
            }
            EventKind::Resumed => {
                self.phase = RunPhase::Active;
                Ok(())
            }
            EventKind::RunFinished { result } => {
                self.phase = RunPhase::Finished(result.clone());
                Ok(())
            }
            other => Err(Divergence::new(
                other,
                "it does not belong to a started run's stream",
            )),
        }
    }

    fn node_mut(&mut self, kind: &EventKind, node: &Name) -> Result<&mut NodeState, Divergence> {
        let missing = || Divergence::new(kind, format!("the graph has no node {node}"));
        self.nodes.get_mut(node).ok_or_else(missing)
    }

    fn start(&mut self, kind: &EventKind, node: &Name, attempt: u32) -> Result<(), Divergence> {
        let state = self.node_mut(kind, node)?;
        let startable = matches!(state, NodeState::Waiting | NodeState::Ready { .. });
        if !startable || attempt <= state.attempt() {
            return Err(Divergence::new(
                kind,
                format!("{node} is in state {state:?}"),
            ));
        }
        *state = NodeState::Running { attempt };
        Ok(())
    }

    fn end(
        &mut self,
        kind: &EventKind,
        node: &Name,
        attempt: u32,
        next: NodeState,
    ) -> Result<(), Divergence> {
        let state = self.node_mut(kind, node)?;
        if *state != (NodeState::Running { attempt }) {
            return Err(Divergence::new(
                kind,
                format!("{node} is in state {state:?}"),
            ));
        }
        *state = next;
        Ok(())
    }

    fn skip(&mut self, kind: &EventKind, node: &Name) -> Result<(), Divergence> {
        let state = self.node_mut(kind, node)?;
        if matches!(
            state,
            NodeState::Succeeded { .. } | NodeState::Running { .. }
        ) {
            return Err(Divergence::new(
                kind,
                format!("{node} is in state {state:?}"),
            ));
        }
        let attempt = state.attempt();
        *state = NodeState::Skipped { attempt };
        Ok(())
    }

    fn timer_due(&mut self, kind: &EventKind, node: &Name) -> Result<(), Divergence> {
        let state = self.node_mut(kind, node)?;
        match state {
            NodeState::Delayed { .. }
            | NodeState::Blocked {
                recheck: Some(_), ..
            } => {
                wake(state);
                Ok(())
            }
            other => Err(Divergence::new(
                kind,
                format!("{node} is in state {other:?}"),
            )),
        }
    }

    /// How the run ended; `None` until then.
    pub fn result(&self) -> Option<&RunResult> {
        match &self.phase {
            RunPhase::Finished(result) => Some(result),
            _ => None,
        }
    }

    /// The node and failure that keep the run from continuing soon: a failed node before a blocked
    /// one, and a blocked one before a delayed one.
    pub fn obstacle(&self) -> Option<(&Name, &NodeState)> {
        let first = |matches: fn(&NodeState) -> bool| self.nodes.iter().find(|(_, s)| matches(s));
        first(|s| matches!(s, NodeState::Failed { .. }))
            .or_else(|| first(|s| matches!(s, NodeState::Blocked { .. })))
            .or_else(|| first(|s| matches!(s, NodeState::Delayed { .. })))
    }
}

fn wake(state: &mut NodeState) {
    if let NodeState::Delayed { attempt, .. } | NodeState::Blocked { attempt, .. } = state {
        *state = NodeState::Ready { attempt: *attempt };
    }
}
