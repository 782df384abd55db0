//! Builds step graphs from steps and their parameters.

use vsiflow_engine::{
    model::{EntityId, Failure, FailureClass, Graph, Name, Node, Payload, Text, Work},
    step::Step,
};
use vsiflow_steps::vsi::{
    RequireReferences,
    require_references::{self, UnresolvedRef},
};

/// A graph being built. By default a node's lane is the host.
pub(crate) struct Nodes {
    workflow: &'static str,
    host: String,
    nodes: Vec<Node>,
}

impl Nodes {
    pub(crate) fn new(workflow: &'static str, host: &str) -> Self {
        Self {
            workflow,
            host: host.to_owned(),
            nodes: Vec::new(),
        }
    }

    /// Adds a node that runs step `S`; its name is the step's name.
    pub(crate) fn step<S: Step>(
        &mut self,
        after: &[&str],
        params: &S::Params,
    ) -> Result<&mut Node, Failure> {
        let params = to_payload(params)?;
        let step = Name::of(S::NAME);
        let work = Work::Step {
            step: step.clone(),
            version: S::VERSION,
            params,
        };
        let lane = Text::new(&self.host);
        Ok(self.push(Node {
            name: step,
            after: names(after),
            work,
            lane,
            interruptible: false,
        }))
    }

    /// Whether there is a node that runs step `S`.
    pub(crate) fn has<S: Step>(&self) -> bool {
        self.contains(S::NAME)
    }

    /// Whether there is a node of that name.
    pub(crate) fn contains(&self, name: &'static str) -> bool {
        let name = Name::of(name);
        self.nodes.iter().any(|node| node.name == name)
    }

    /// Adds the node that blocks until unresolved references are resolved. It contacts no host.
    pub(crate) fn require(&mut self, unresolved_refs: &[UnresolvedRef]) -> Result<(), Failure> {
        let unresolved_refs = unresolved_refs.to_vec();
        let params = require_references::Params { unresolved_refs };
        self.step::<RequireReferences>(&[], &params)?.lane = Text::default();
        Ok(())
    }

    /// Adds a node that waits for another entity.
    pub(crate) fn entity(
        &mut self,
        name: &str,
        after: &[&str],
        entity: EntityId,
        workflow: &str,
        desired: &impl serde::Serialize,
    ) -> Result<&mut Node, Failure> {
        let work = Work::Entity {
            entity,
            workflow: Name::of(workflow),
            desired: to_payload(desired)?,
        };
        let (name, after) = (Name::of(name), names(after));
        Ok(self.push(Node {
            name,
            after,
            work,
            lane: Text::default(),
            interruptible: true,
        }))
    }

    fn push(&mut self, node: Node) -> &mut Node {
        let at = self.nodes.len();
        self.nodes.push(node);
        #[expect(clippy::indexing_slicing, reason = "it was pushed in the line above")]
        &mut self.nodes[at]
    }

    pub(crate) fn build(self) -> Graph {
        Graph {
            workflow: Name::of(self.workflow),
            version: 1,
            nodes: self.nodes,
        }
    }
}

fn names(after: &[&str]) -> Vec<Name> {
    after.iter().map(|name| Name::of(name)).collect()
}

fn to_payload(value: &impl serde::Serialize) -> Result<Payload, Failure> {
    serde_json::to_vec(value)
        .map(Payload::Inline)
        .map_err(|error| {
            Failure::new(FailureClass::Blocked, "VSI0001", error.to_string())
                .with_remedy("this is a defect of vsiflow; please report it with `vsiflow history`")
        })
}
