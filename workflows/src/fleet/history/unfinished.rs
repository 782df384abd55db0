//! The unfinished steps of all entities.

use vsiflow_engine::model::{EntityId, NodeState, RunState};

use crate::fleet::HistoryHandle;

/// A step that runs, waits for its next attempt, or is blocked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnfinishedStep {
    /// The entity of its run.
    pub entity: EntityId,
    /// The run's workflow.
    pub workflow: String,
    /// The step.
    pub step: String,
    /// `Running`, `Delayed` or `Blocked`.
    pub state: &'static str,
    /// The newest attempt, from 1.
    pub attempt: u32,
    /// The failure of the newest attempt; empty if there is none.
    pub message: String,
}

impl HistoryHandle<'_> {
    /// The unfinished steps of all open runs, those of the oldest runs first. Returns at most `limit`
    /// steps, and how many more there are. Contacts no host and reads nothing from the journal.
    pub fn unfinished_steps(self, limit: usize) -> (Vec<UnfinishedStep>, usize) {
        let entities = self.fleet.engine.entities();
        let open = entities.values().filter_map(|state| state.active.as_ref());
        let mut open: Vec<_> = open.map(|active| active.run).collect();
        open.sort_unstable();
        let (mut steps, mut more) = (Vec::new(), 0_usize);
        for run in open.into_iter().filter_map(|id| self.fleet.engine.run(id)) {
            for step in steps_of(&run) {
                if steps.len() < limit {
                    steps.push(step)
                } else {
                    more = more.saturating_add(1)
                }
            }
        }
        (steps, more)
    }
}

fn steps_of(run: &RunState) -> impl Iterator<Item = UnfinishedStep> + '_ {
    let entity = run.entity.as_ref();
    let graph = run.graph.as_ref();
    run.nodes.iter().filter_map(move |(name, node)| {
        let state = match node {
            NodeState::Running { .. } | NodeState::Ready { .. } => "Running",
            NodeState::Delayed { .. } => "Delayed",
            NodeState::Blocked { .. } => "Blocked",
            _ => return None,
        };
        let why = node
            .failure()
            .map(|why| format!("{}: {}", why.code, why.message));
        Some(UnfinishedStep {
            entity: entity?.clone(),
            workflow: graph
                .map(|graph| graph.workflow.to_string())
                .unwrap_or_default(),
            step: name.to_string(),
            state,
            attempt: node.attempt(),
            message: why.unwrap_or_default(),
        })
    })
}
