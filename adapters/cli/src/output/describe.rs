//! `describe`, for people.

use serde_json::Value;
use vsiflow_workflows::{
    fleet::{Condition, DiskObject, HistoryLine, Metadata, VsiObject, VsiStatus},
    next_try,
    spec::Quantity,
};

use super::{line, sizes, table};

/// How many of the newest events are shown.
const EVENTS: usize = 20;

fn failed_boots(status: &VsiStatus) -> String {
    let of = format!("{} of at most {}", status.failed_boots, next_try::TRIES);
    match &status.next_try {
        Some(at) => format!("{of}; the next try is due at {at}"),
        None => of,
    }
}

/// A VSI and its newest events.
pub(crate) fn vsi(object: &VsiObject, history: &[HistoryLine]) {
    let status = &object.status;
    metadata(&object.metadata);
    field("Host", &status.host);
    field(
        "Host seen",
        status.host_last_seen.as_deref().unwrap_or("never"),
    );
    field("Phase", &status.phase.to_string());
    if status.failed_boots > 0 {
        field("Failed boots", &failed_boots(status));
    }
    field("Addresses", &status.ip_addresses.join(","));
    field("Step", status.current_step.as_deref().unwrap_or_default());
    field("Progress", &progress(status));
    field("Run", status.run_id.as_deref().unwrap_or_default());
    spec(&object.spec);
    conditions(&status.conditions);
    description(&status.description);
    if !status.warnings.is_empty() {
        line("Warnings:");
        let warnings = status.warnings.iter();
        warnings.for_each(|warning| line(&format!("  {warning}")));
    }
    if !status.evidence.is_empty() {
        line("Evidence:");
        let places = status.evidence.iter();
        places.for_each(|place| line(&format!("  {place}")));
    }
    events(history);
}

/// A data disk and its newest events; a reference has neither UID nor events.
pub(crate) fn disk(object: &DiskObject, history: &[HistoryLine]) {
    let status = &object.status;
    metadata(&object.metadata);
    field("Kind", object.kind);
    field("Host", &status.host);
    field("Volume", &status.volume);
    field("Phase", &status.phase);
    let capacity = status.capacity.map(|bytes| Quantity(bytes).to_string());
    field("Capacity", &capacity.unwrap_or_default());
    field("Used by", &status.used_by.join(","));
    field("Run", status.run_id.as_deref().unwrap_or_default());
    spec(&object.spec);
    conditions(&status.conditions);
    description(&status.description);
    events(history);
}

fn metadata(meta: &Metadata) {
    field("Name", &meta.name);
    field("Namespace", &meta.namespace);
    field("UID", &meta.uid);
    field("Generation", &meta.generation.to_string());
    field("Created", &meta.creation_timestamp);
    let labels: Vec<_> = meta
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    field("Labels", &labels.join(","));
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

fn description(text: &str) {
    if !text.is_empty() {
        line("Description:");
        text.lines().for_each(|text| line(&format!("  {text}")));
    }
}

fn events(history: &[HistoryLine]) {
    line("Events:");
    let newest = history
        .get(history.len().saturating_sub(EVENTS)..)
        .unwrap_or_default();
    table::history(newest, false)
        .render()
        .lines()
        .for_each(|text| line(&format!("  {text}")));
}

/// `3 of 12 steps; uploading 120 MiB of 1024 MiB (11 %), 40.0 MiB/s, 22 s left`.
fn progress(status: &VsiStatus) -> String {
    let Some(progress) = &status.progress else {
        return String::new();
    };
    let steps = format!("{} of {} steps", progress.done, progress.total);
    match &progress.upload {
        Some(upload) => format!("{steps}; {upload}"),
        None => steps,
    }
}

fn spec(spec: &Value) {
    line("Spec:");
    for (key, value) in spec.as_object().into_iter().flatten() {
        if !value.is_null() {
            let text = value
                .as_str()
                .map_or_else(|| sizes::shown(key, Some(value)), str::to_owned);
            line(&format!("  {key:<17} {text}"));
        }
    }
}

fn field(name: &str, value: &str) {
    let value = if value.is_empty() { "<none>" } else { value };
    line(&format!("{:<12} {value}", format!("{name}:")));
}
