//! What an object is made of, as a graph: of its newest run the steps; of a pool or a group, which have no runs, their
//! members.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::run_graphs::GraphStep;
use crate::fleet::{FleetError, Fleets, GroupObject, PoolObject};

/// The prefix of a pool's name.
const POOL: &str = "pool/";
/// The prefix of a group's name.
const GROUP: &str = "group/";

/// An object as a graph.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectGraph {
    /// The words above it; none of a pool, which is its own first node.
    pub head: Vec<String>,
    /// When the run began, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// Its nodes; those that a node comes after stand before it. Those of members have phases as states.
    pub nodes: Vec<GraphStep>,
    /// The durations of the steps' newest attempts, in milliseconds.
    pub durations: BTreeMap<String, u64>,
    /// Whether the nodes are members, and not steps.
    pub has_members: bool,
}

impl Fleets {
    /// The graph of an object, named as in [`HistoryHandle::lines`](crate::fleet::HistoryHandle::lines); none if it
    /// has no run.
    ///
    /// # Errors
    /// `VSI0703` if there is no such object; when the journal cannot be read.
    pub async fn graph(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<ObjectGraph>, FleetError> {
        if let Some(pool) = name.strip_prefix(POOL) {
            return Ok(Some(of_pool(&self.pool(namespace, pool).await?)));
        }
        if let Some(group) = name.strip_prefix(GROUP) {
            return Ok(Some(of_group(&self.group(namespace, group).await?)));
        }
        let history = self.that_has(namespace, name).await?.history();
        let runs = history.run_graphs(namespace, name).await?;
        let Some(newest) = runs.into_iter().next() else {
            return Ok(None);
        };
        let lines = history.lines(namespace, name).await?;
        let generation = format!("generation {}", newest.generation);
        Ok(Some(ObjectGraph {
            durations: newest.durations(&lines),
            head: vec![newest.workflow, newest.phase.into_owned(), generation],
            started: Some(newest.started),
            nodes: newest.steps,
            has_members: false,
        }))
    }
}

/// A pool above its members.
fn of_pool(pool: &PoolObject) -> ObjectGraph {
    let root = &pool.metadata.name;
    let status = &pool.status;
    let own = node(root, &[], status.phase, &status.message);
    let after = std::slice::from_ref(root);
    let members = status.members.iter().map(|member| {
        let name = member_name(root, &member.name);
        node(&name, after, member.phase.as_str(), "")
    });
    ObjectGraph {
        nodes: std::iter::once(own).chain(members).collect(),
        has_members: true,
        ..ObjectGraph::default()
    }
}

/// A name that differs from the root's, because the names of nodes must be unique.
fn member_name(root: &str, name: &str) -> String {
    if name == root {
        format!("{name} ")
    } else {
        name.to_owned()
    }
}

/// The waves of a group, each above its members, and these above the next wave.
fn of_group(group: &GroupObject) -> ObjectGraph {
    let (mut nodes, mut before) = (Vec::new(), Vec::new());
    for wave in &group.status.waves {
        let name = format!("wave {}", wave.name);
        let gate = if wave.open { "Open" } else { "Closed" };
        nodes.push(node(&name, &before, gate, ""));
        let after = std::slice::from_ref(&name);
        let items = wave.items.iter();
        let items: Vec<_> = items
            .map(|item| node(&item.name, after, item.phase, ""))
            .collect();
        before = if items.is_empty() {
            vec![name]
        } else {
            items.iter().map(|item| item.name.clone()).collect()
        };
        nodes.extend(items);
    }
    let status = &group.status;
    ObjectGraph {
        head: [&group.metadata.name, status.phase, &status.message]
            .map(ToOwned::to_owned)
            .to_vec(),
        nodes,
        has_members: true,
        ..ObjectGraph::default()
    }
}

fn node(name: &str, after: &[String], state: &str, message: &str) -> GraphStep {
    GraphStep {
        name: name.to_owned(),
        after: after.to_vec(),
        state: state.to_owned().into(),
        message: message.to_owned(),
        ..GraphStep::default()
    }
}
