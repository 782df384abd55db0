//! Step graphs, read from the `run_started` events of an exported journal.

use std::fmt::Write as _;

use serde_json::Value;

/// A step, and the steps that it waits for.
pub(super) struct DrawnStep {
    pub(super) name: String,
    pub(super) after: Vec<String>,
}

/// The graph of the first run of this workflow.
pub(super) fn started(export: &str, workflow: &str) -> Vec<DrawnStep> {
    let lines = export
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut graphs = lines
        .filter(|line| line["type"] == "run_started")
        .map(|line| line["event"]["graph"].clone());
    let graph = graphs
        .find(|graph| graph["workflow"] == workflow)
        .unwrap_or_else(|| panic!("no run of {workflow} was started"));
    let nodes = graph["nodes"].as_array().unwrap();
    nodes.iter().map(step).collect()
}

fn step(node: &Value) -> DrawnStep {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    DrawnStep {
        name: text(&node["name"]),
        after: node["after"].as_array().unwrap().iter().map(text).collect(),
    }
}

pub(super) fn mermaid(graph: &[DrawnStep]) -> String {
    let mut text = "flowchart LR\n".to_owned();
    for step in graph {
        match step.after.as_slice() {
            [] => writeln!(text, "  {}", step.name).unwrap(),
            after => writeln!(text, "  {} --> {}", after.join(" & "), step.name).unwrap(),
        }
    }
    text
}
