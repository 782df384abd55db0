//! The runs of an entity with their step graphs, for display.

use std::{borrow::Cow, collections::BTreeMap};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::model::{EntityId, NodeState, RunId, RunState};

use super::listings::{began, phase};
use crate::fleet::{Fleet, FleetError, HistoryHandle, HistoryLine, vsi::object::rfc3339};

/// A run and the steps of its graph.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunGraph {
    /// The run's id.
    pub name: String,
    /// Its workflow.
    pub workflow: String,
    /// The generation that it is for.
    pub generation: u64,
    /// When it began, RFC 3339.
    pub started: String,
    /// `Active`, `Paused`, `Succeeded`, `Failed`, `Cancelled` or `Superseded`.
    pub phase: Cow<'static, str>,
    /// Its steps; those that a step comes after stand before it.
    pub steps: Vec<GraphStep>,
}

impl RunGraph {
    /// The duration of each step's newest attempt in milliseconds, from the history of its entity.
    pub fn durations(&self, history: &[HistoryLine]) -> BTreeMap<String, u64> {
        let own = history
            .iter()
            .filter(|line| line.run.as_deref() == Some(self.name.as_str()));
        let steps = own.filter_map(|line| Some((line.step.clone()?, line.duration_ms?)));
        steps.collect()
    }
}

/// A step of a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GraphStep {
    /// Its name.
    pub name: String,
    /// The steps that must have succeeded before.
    pub after: Vec<String>,
    /// `Waiting`, `Running`, `Delayed`, `Blocked`, `Succeeded`, `Failed` or `Skipped`.
    pub state: Cow<'static, str>,
    /// The newest attempt; 0 before the first.
    pub attempt: u32,
    /// When it succeeded, or is attempted again, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// What it stands at.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

impl HistoryHandle<'_> {
    /// The runs of a VSI, or of another object as [`HistoryHandle::lines`] names it, newest first. Only
    /// runs whose states are in memory are included.
    ///
    /// # Errors
    /// When there is no such object, or the journal cannot be read.
    pub async fn run_graphs(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<RunGraph>, FleetError> {
        let named = self.fleet.entities_named(namespace, name).await?;
        let graphs = named
            .iter()
            .flat_map(|(entity, _)| self.fleet.run_graphs_of(entity));
        let mut graphs: Vec<_> = graphs.collect();
        graphs.sort_by(|one, other| other.name.cmp(&one.name));
        Ok(graphs)
    }

    /// The newest run of an entity, if its state is in memory.
    pub fn newest_run(self, entity: &EntityId) -> Option<RunGraph> {
        let newest = self.fleet.engine.entity(entity)?.runs.last().copied()?;
        Some(run_graph(newest, &*self.fleet.engine.run(newest)?))
    }
}

impl Fleet {
    fn run_graphs_of(&self, entity: &EntityId) -> Vec<RunGraph> {
        let Some(state) = self.engine.entity(entity) else {
            return Vec::new();
        };
        let runs = state.runs.iter().rev();
        let states = runs.filter_map(|id| Some((*id, self.engine.run(*id)?)));
        states.map(|(id, run)| run_graph(id, &run)).collect()
    }
}

fn run_graph(id: RunId, run: &RunState) -> RunGraph {
    let nodes = run.graph.iter().flat_map(|graph| &graph.nodes);
    let steps = nodes.map(|node| {
        let step = GraphStep {
            name: node.name.to_string(),
            after: node.after.iter().map(ToString::to_string).collect(),
            ..GraphStep::default()
        };
        run.nodes.get(&node.name).map_or_else(
            || GraphStep {
                state: "Waiting".into(),
                ..step.clone()
            },
            |state| of_state(step.clone(), state),
        )
    });
    RunGraph {
        name: id.to_string(),
        workflow: run.graph.iter().map(|g| g.workflow.to_string()).collect(),
        generation: run.generation,
        started: began(id),
        phase: phase(run).into(),
        steps: steps.collect(),
    }
}

fn of_state(step: GraphStep, state: &NodeState) -> GraphStep {
    let (word, at) = match state {
        NodeState::Waiting => ("Waiting", None),
        NodeState::Running { .. } | NodeState::Ready { .. } => ("Running", None),
        NodeState::Delayed { retry, .. } => ("Delayed", Some(retry.due)),
        NodeState::Blocked { recheck, .. } => ("Blocked", recheck.as_ref().map(|wait| wait.due)),
        NodeState::Succeeded { at, .. } => ("Succeeded", Some(*at)),
        NodeState::Failed { .. } => ("Failed", None),
        NodeState::Skipped { .. } => ("Skipped", None),
    };
    let message = state.failure().map(|why| format!("{why}. {}", why.remedy));
    GraphStep {
        state: word.into(),
        attempt: state.attempt(),
        at: at.map(rfc3339),
        message: message.unwrap_or_default(),
        ..step
    }
}
