//! The step graph of a run, as stored in `run_started`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{
    id::EntityId,
    payload::Payload,
    text::{Name, Text},
};

/// A directed graph of nodes; each node comes after its predecessors in the list.
///
/// A run follows the graph with which it started, never the one that today's code would build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graph {
    /// The workflow's name, such as `provision_vsi`.
    pub workflow: Name,
    /// The workflow's version.
    pub version: u16,
    /// The nodes; a node's predecessors come before it.
    pub nodes: Vec<Node>,
}

/// A node of a graph: its work, and its predecessors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the graph.
    pub name: Name,
    /// The nodes that must have succeeded before.
    pub after: Vec<Name>,
    /// The work of the node.
    pub work: Work,
    /// The lane (a host's name) in which attempts are limited; an empty lane has no limit.
    pub lane: Text,
    /// Whether it may be stopped immediately when the run is to end: it only watches, or its
    /// partial results are harmless.
    pub interruptible: bool,
}

/// The work of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Runs a registered step.
    Step {
        /// The step's name.
        step: Name,
        /// The version of its parameters.
        version: u16,
        /// Its parameters.
        params: Payload,
    },
    /// Waits until another entity has reached a desired state, and starts a run for it if there is
    /// none. Its output is that of the last node of that run.
    Entity {
        /// The awaited entity.
        entity: EntityId,
        /// The workflow that brings it there.
        workflow: Name,
        /// Its desired state.
        desired: Payload,
    },
}

/// Why a graph cannot be run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// No nodes, or more than [`Graph::MAX_NODES`].
    #[error("a graph has 1 to {max} nodes, not {0}", max = Graph::MAX_NODES)]
    Size(usize),
    /// Two nodes have the same name.
    #[error("two nodes are named {0}")]
    Twice(Name),
    /// A node waits for one that does not come before it.
    #[error("node {node} waits for {missing}, which is not before it")]
    Order {
        /// The waiting node.
        node: Name,
        /// The node that it waits for.
        missing: Name,
    },
    /// Its weight is more than [`Graph::MAX_WEIGHT`]: larger parameters belong in blobs.
    #[error("the graph takes {0} bytes, more than {max}", max = Graph::MAX_WEIGHT)]
    TooHeavy(usize),
}

impl Graph {
    /// The most nodes of a graph.
    pub const MAX_NODES: usize = 32;
    /// The most bytes of a graph's weight, so that its event fits a record.
    pub const MAX_WEIGHT: usize = 2816;

    /// The node with that name.
    pub fn node(&self, name: &Name) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == *name)
    }

    /// The most bytes that the graph needs in a record: its content, and some for lengths and tags.
    pub fn weight(&self) -> usize {
        let nodes = self.nodes.iter().map(Node::weight);
        weigh(self.workflow.as_str()) + 8 + nodes.sum::<usize>()
    }

    /// Checks the rules of a graph: 1 to [`Graph::MAX_NODES`] nodes, unique names, and each node
    /// after its predecessors, which makes cycles impossible.
    ///
    /// # Errors
    /// The first rule that is violated.
    pub fn validate(&self) -> Result<(), GraphError> {
        if self.nodes.is_empty() || self.nodes.len() > Self::MAX_NODES {
            return Err(GraphError::Size(self.nodes.len()));
        }
        let mut earlier_nodes = BTreeSet::new();
        for node in &self.nodes {
            if let Some(missing) = node.after.iter().find(|name| !earlier_nodes.contains(name)) {
                return Err(GraphError::Order {
                    node: node.name.clone(),
                    missing: missing.clone(),
                });
            }
            if !earlier_nodes.insert(&node.name) {
                return Err(GraphError::Twice(node.name.clone()));
            }
        }
        // Checked last: before the executor opens a run it reduces only the weight of a graph,
        // nothing else.
        match self.weight() {
            weight if weight > Self::MAX_WEIGHT => Err(GraphError::TooHeavy(weight)),
            _ => Ok(()),
        }
    }
}

impl Node {
    fn weight(&self) -> usize {
        let dependencies = self.after.iter().map(|name| weigh(name.as_str()));
        let work = match &self.work {
            Work::Step { step, params, .. } => weigh(step.as_str()) + 4 + params.weight(),
            Work::Entity {
                entity,
                workflow,
                desired,
            } => {
                let names = [entity.kind().as_str(), entity.id(), workflow.as_str()];
                names.into_iter().map(weigh).sum::<usize>() + 1 + desired.weight()
            }
        };
        weigh(self.name.as_str())
            + weigh(self.lane.as_str())
            + 6
            + dependencies.sum::<usize>()
            + work
    }
}

/// The bytes that a text needs in a record: its length prefix and its content.
fn weigh(text: &str) -> usize {
    text.len() + if text.len() < 251 { 1 } else { 3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_a_graph_is_too_heavy_hides_nothing_else_that_is_wrong_with_it() {
        let node = Node {
            name: Name::of("step"),
            after: Vec::new(),
            work: Work::Step {
                step: Name::of("step"),
                version: 1,
                params: Payload::Inline(vec![0; Graph::MAX_WEIGHT]),
            },
            lane: Text::default(),
            interruptible: false,
        };
        let mut graph = Graph {
            workflow: Name::of("test"),
            version: 1,
            nodes: vec![node.clone()],
        };
        assert!(matches!(graph.validate(), Err(GraphError::TooHeavy(_))));
        graph.nodes.push(node);
        let twice = GraphError::Twice(Name::of("step"));
        assert_eq!(graph.validate(), Err(twice));
    }
}
