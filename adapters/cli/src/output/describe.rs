//! The text output of `describe`.

use serde_json::Value;
use vsiflow_steps::host_text;
use vsiflow_workflows::{
    fleet::Condition,
    kinds::{Description, Detail, Phrase, TreeNode},
};

use super::{
    line, sizes,
    symbols::{self, Branch},
    timeline::{Timeline, TimelineView},
    times::Times,
    wrap,
};

/// The indentation of the lines of a section.
const INDENT: &str = "  ";
/// How many of the newest events outside of runs are shown.
const EVENTS: usize = 10;

/// Prints an object's parts, its newest runs with their steps, and the newest events outside of runs.
pub(crate) fn description(description: &Description, times: Times) {
    for detail in &description.details {
        part(detail, times);
    }
    let timeline = Timeline::of(&description.history);
    for entity in &description.entities {
        let runs = timeline.clone().last_runs(entity);
        timeline_section("Runs", &runs, view(times));
    }
    timeline_section("Events", &timeline.last_events(EVENTS), view(times));
}

fn part(detail: &Detail, times: Times) {
    match detail {
        Detail::Field(name, phrases) => field(name, &value(phrases, times)),
        Detail::Line(text) => line(text),
        Detail::Section(head, lines) => section(head, lines),
        Detail::Tree(head, nodes) => {
            line(&format!("{head}:"));
            nodes.iter().for_each(tree);
        }
        Detail::Spec(desired) => spec(desired),
        Detail::Conditions(all) => conditions(all),
        Detail::Explanation(text) if text.is_empty() => {}
        Detail::Explanation(text) => {
            let lines: Vec<_> = text.lines().map(ToOwned::to_owned).collect();
            section("Description", &lines);
        }
    }
}

fn value(phrases: &[Phrase], times: Times) -> String {
    let texts = phrases.iter().map(|phrase| match phrase {
        Phrase::Text(text) => text.clone(),
        Phrase::Moment(at) => times.ago(at),
    });
    texts.collect()
}

/// Prints a field, unless it is empty.
fn field(name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let value = host_text::shown(value);
    line(&format!("{:<12} {value}", format!("{name}:")));
}

fn section(head: &str, lines: &[String]) {
    line(&format!("{head}:"));
    lines
        .iter()
        .for_each(|text| line(&format!("{INDENT}{text}")));
}

fn tree(root: &TreeNode) {
    line(&format!("{INDENT}{}", root.text));
    branches(&root.children, INDENT);
}

fn branches(nodes: &[TreeNode], indent: &str) {
    for (place, node) in nodes.iter().enumerate() {
        let Branch { fork, stem } = symbols::branch(place.saturating_add(1) == nodes.len());
        line(&format!("{indent}{fork} {}", node.text));
        branches(&node.children, &format!("{indent}{stem} "));
    }
}

fn conditions(conditions: &[Condition]) {
    line("Conditions:");
    for condition in conditions {
        let why = if condition.message.is_empty() {
            &condition.reason
        } else {
            &condition.message
        };
        line(&format!(
            "  {:<17} {:<8} {why}",
            condition.name, condition.status
        ));
    }
}

fn view(times: Times) -> TimelineView {
    let width = wrap::terminal_width();
    TimelineView {
        times,
        now: jiff::Timestamp::now(),
        width: width.map(|width| width.saturating_sub(INDENT.len())),
        bars: width.is_some(),
        heads: false,
    }
}

fn timeline_section(name: &str, part: &Timeline, view: TimelineView) {
    if part.is_empty() {
        return;
    }
    line(&format!("{name}:"));
    let text = part.render(view);
    text.lines()
        .for_each(|text| line(&format!("{INDENT}{text}")));
}

/// A specification in the form of documents, without empty fields.
fn spec(spec: &Value) {
    line("Spec:");
    let shown = sizes::as_documents(&pruned(spec));
    // Every value comes from JSON, which YAML can hold.
    let text = serde_saphyr::to_string(&shown).unwrap_or_default();
    text.lines()
        .for_each(|text| line(&format!("{INDENT}{text}")));
}

/// The value without fields that are null or empty. Items of lists are unchanged: there an object
/// without fields may have a meaning, such as `started: {}`.
fn pruned(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, item)| (key.clone(), pruned(item)));
            Value::Object(fields.filter(|(_, item)| !is_empty(item)).collect())
        }
        value => value.clone(),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}
