//! The text output of `describe`.

use std::collections::BTreeSet;

use serde_json::Value;
use vsiflow_steps::host_text;
use vsiflow_workflows::{
    fleet::{
        Condition, DiskObject, GroupItem, GroupObject, HistoryLine, HostObject, ImageObject,
        Metadata, NetworkObject, PoolObject, QuotaObject, SnapshotObject, SnapshotScheduleStatus,
        VsiObject, VsiStatus,
    },
    next_try,
    spec::Quantity,
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
/// How many characters of a group's output are shown.
const MAX_OUTPUT_LEN: usize = 80;

fn failed_boots(status: &VsiStatus) -> String {
    let of = format!("{} of at most {}", status.failed_boots, next_try::TRIES);
    match &status.next_try {
        Some(at) => format!("{of}; the next try is due at {at}"),
        None => of,
    }
}

/// A VSI and its newest events.
pub(crate) fn vsi(object: &VsiObject, history: &[HistoryLine], times: Times) {
    let status = &object.status;
    metadata(&object.metadata, times);
    field("Host", &status.host);
    placement(status);
    let seen = status.host_last_seen.as_deref();
    field(
        "Host seen",
        &seen.map_or("never".to_owned(), |at| times.ago(at)),
    );
    field("Phase", &status.phase.to_string());
    if status.failed_boots > 0 {
        field("Failed boots", &failed_boots(status));
    }
    field("Addresses", &status.ip_addresses.join(","));
    field("Step", status.current_step.as_deref().unwrap_or_default());
    field("Progress", &progress(status));
    field("Run", status.run_id.as_deref().unwrap_or_default());
    if let Some(schedule) = &status.snapshots {
        field("Snapshots", &snapshots(schedule, times));
    }
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
    happened(history, times);
}

fn snapshots(schedule: &SnapshotScheduleStatus, times: Times) -> String {
    let ago = |at: &Option<String>| at.as_ref().map_or("none".to_owned(), |at| times.ago(at));
    let (last, next) = (
        ago(&schedule.last_schedule_time),
        ago(&schedule.next_schedule_time),
    );
    format!("last due {last}, next {next}, {} missed", schedule.missed)
}

/// A data disk and its newest events; a reference has neither UID nor events.
pub(crate) fn disk(object: &DiskObject, history: &[HistoryLine], times: Times) {
    let status = &object.status;
    metadata(&object.metadata, times);
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
    happened(history, times);
}

/// A host, its images and its newest events.
pub(crate) fn host(
    object: &HostObject,
    images: &[ImageObject],
    history: &[HistoryLine],
    times: Times,
) {
    field("Name", &object.name);
    field("Transport", object.transport);
    field("Status", &object.status);
    field("VSIs", &object.vsis.to_string());
    let labels = object.labels.iter();
    let labels: Vec<_> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    field("Labels", &labels.join(","));
    field("Cordoned", object.cordoned.as_deref().unwrap_or_default());
    field(
        "Image policy",
        object.image_policy.as_deref().unwrap_or("none"),
    );
    if !images.is_empty() {
        line("Images:");
    }
    for image in images {
        let users = format!("{} users", image.users);
        let policy = image.policy.as_ref().unwrap_or(&users);
        line(&format!(
            "  {}/{} {}: {policy}",
            image.pool, image.name, image.phase
        ));
    }
    description(object.message.as_deref().unwrap_or_default());
    if !object.warnings.is_empty() {
        line("Warnings:");
        let warnings = object.warnings.iter();
        warnings.for_each(|warning| line(&format!("  {warning}")));
    }
    happened(history, times);
}

/// A network on each of its hosts, and the newest events there.
pub(crate) fn network(objects: &[NetworkObject], history: &[HistoryLine], times: Times) {
    for (number, object) in objects.iter().enumerate() {
        if number > 0 {
            line("");
        }
        network_on_host(object);
    }
    let all = Timeline::of(history);
    // On each host the network is a separate entity.
    let entities: BTreeSet<_> = history.iter().map(|line| &line.entity).collect();
    for entity in entities {
        section("Runs", &all.clone().last_runs(entity), view(times));
    }
    section("Events", &all.last_events(EVENTS), view(times));
}

fn network_on_host(object: &NetworkObject) {
    field("Name", &object.name);
    field("Host", &object.host);
    field("Phase", object.phase);
    if let Some(made) = &object.made {
        let document = format!("network/{} in {}", made.name, made.namespace);
        field("Document", &document);
        field("Mode", made.mode);
        field("Addresses", made.cidr.as_deref().unwrap_or_default());
        field("On deletion", made.deletion_policy);
    }
    field("Used by", &object.used_by.join(","));
    let assigned = object.made.iter().flat_map(|made| &made.addresses);
    let assigned: Vec<_> = assigned.collect();
    if !assigned.is_empty() {
        line("Assigned:");
    }
    for (vsi, address) in assigned {
        line(&format!("  {address}: {vsi}"));
    }
    description(&object.message);
}

/// A snapshot, its copies and its newest events.
pub(crate) fn snapshot(object: &SnapshotObject, history: &[HistoryLine], times: Times) {
    let status = &object.status;
    metadata(&object.metadata, times);
    field("Phase", &status.phase);
    field("Host", &status.host);
    let size = status.size.map(|bytes| Quantity(bytes).to_string());
    field("Size", &size.unwrap_or_default());
    if let Some(due) = &status.scheduled_time {
        field("Scheduled", &times.ago(due));
    }
    field("Run", status.run_id.as_deref().unwrap_or_default());
    spec(&object.spec);
    line("Disks:");
    for disk in &status.disks {
        let capacity = disk.capacity.map(|bytes| Quantity(bytes).to_string());
        let capacity = capacity.unwrap_or_else(|| "not copied".to_owned());
        line(&format!("  {}: {} ({capacity})", disk.name, disk.copy));
    }
    if let Some(memory) = &status.memory {
        let saved = memory.size.map(|bytes| Quantity(bytes).to_string());
        let saved = saved.unwrap_or_else(|| "not saved".to_owned());
        field("Memory", &format!("{} ({saved})", memory.volume));
    }
    conditions(&status.conditions);
    description(&status.description);
    happened(history, times);
}

/// A pool, its members and its newest events.
pub(crate) fn pool(object: &PoolObject, history: &[HistoryLine], times: Times) {
    let status = &object.status;
    metadata(&object.metadata, times);
    field("Phase", status.phase);
    let desired = object.spec.get("replicas").map(ToString::to_string);
    field("Desired", &desired.unwrap_or_default());
    field("Ready", &status.ready_replicas.to_string());
    field("Updated", &status.updated_replicas.to_string());
    field("Revision", &status.revision);
    field(
        "Previous",
        status.previous_revision.as_deref().unwrap_or_default(),
    );
    spec(&object.spec);
    line("Members:");
    for member in &status.members {
        let ready = if member.ready { "ready" } else { "not ready" };
        let updated = if member.updated {
            "updated"
        } else {
            "outdated"
        };
        let cordoned = if member.cordoned { ", cordoned" } else { "" };
        let leaves = member.leaves.as_ref();
        let leaves = leaves
            .map(|host| format!(", leaves {host}"))
            .unwrap_or_default();
        line(&format!(
            "  {:<17} {:<12} {ready}, {updated}{cordoned}{leaves}",
            member.name, member.phase
        ));
    }
    conditions(&status.conditions);
    description(&status.message);
    happened(history, times);
}

/// A group as a tree of waves, pools and members, and its newest events.
pub(crate) fn group(object: &GroupObject, history: &[HistoryLine], times: Times) {
    let status = &object.status;
    metadata(&object.metadata, times);
    field("Phase", status.phase);
    field("Wave", &status.wave);
    let ready = format!("{} of {}", status.ready_replicas, status.replicas);
    field("Ready", &ready);
    if let Some(release) = object.spec.get("release").and_then(Value::as_object) {
        for (name, released) in release {
            let image = released.get("image").and_then(Value::as_str);
            field("Release", &format!("{name}: {}", image.unwrap_or_default()));
        }
    }
    line("Waves:");
    for wave in &status.waves {
        let gate = if wave.open { "open" } else { "closed" };
        line(&format!("  {} (gate {gate})", wave.name));
        for (place, item) in wave.items.iter().enumerate() {
            let last = place.saturating_add(1) == wave.items.len();
            branch(item, last);
        }
    }
    if !status.outputs.is_empty() {
        line("Outputs:");
    }
    for output in &status.outputs {
        let value = match (&output.value, output.found) {
            (Some(value), _) => shortened(value).replace('\n', "\n    "),
            (None, true) => "<secret>".to_owned(),
            (None, false) => "<not read yet>".to_owned(),
        };
        line(&format!("  {} ({}): {value}", output.name, output.member));
    }
    conditions(&status.conditions);
    description(&status.message);
    happened(history, times);
}

/// An output, shortened: `vsiflow output` prints all of it.
fn shortened(value: &str) -> String {
    let start: String = value.chars().take(MAX_OUTPUT_LEN).collect();
    if start.len() == value.len() {
        start
    } else {
        format!("{start}… ({} bytes)", value.len())
    }
}

/// A quota: the usage and the limit of each resource.
pub(crate) fn quota(object: &QuotaObject) {
    field("Name", &object.metadata.name);
    field("Namespace", &object.metadata.namespace);
    line(&format!("{:<10} {:<10} {}", "Resource", "Used", "Hard"));
    for (name, hard) in &object.status.hard {
        let used = object.status.used.get(name).map_or("", String::as_str);
        line(&format!("{name:<10} {used:<10} {hard}"));
    }
}

/// A pool of a wave with its members.
fn branch(item: &GroupItem, last: bool) {
    let Branch { fork, stem } = symbols::branch(last);
    let outdated = if item.updated { "" } else { ", outdated" };
    line(&format!(
        "  {fork} pool/{} {}{outdated}",
        item.pool, item.phase
    ));
    for (place, member) in item.members.iter().enumerate() {
        let member_fork = symbols::branch(place.saturating_add(1) == item.members.len()).fork;
        let ready = if member.ready { "ready" } else { "not ready" };
        line(&format!(
            "  {stem} {member_fork} vsi/{} {}, {ready}",
            member.name, member.phase
        ));
    }
}

/// Why the VSI was placed on its host, and not on the others.
fn placement(status: &VsiStatus) {
    let Some(decision) = &status.placement else {
        return;
    };
    line("Placement:");
    line(&format!("  chosen {}: {}", decision.host, decision.why));
    for rejected in &decision.against {
        line(&format!("  not {rejected}"));
    }
}

fn metadata(meta: &Metadata, times: Times) {
    field("Name", &meta.name);
    field("Namespace", &meta.namespace);
    field("UID", &meta.uid);
    field("Generation", &meta.generation.to_string());
    let created = meta.creation_timestamp.as_str();
    let known = Some(created).filter(|created| !created.is_empty());
    field(
        "Created",
        &known.map(|at| times.ago(at)).unwrap_or_default(),
    );
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

/// The run in progress and the one before, with their steps; then the events outside of runs.
fn happened(history: &[HistoryLine], times: Times) {
    let all = Timeline::of(history);
    let own = history.first().map(|line| line.entity.clone());
    section(
        "Runs",
        &all.clone().last_runs(&own.unwrap_or_default()),
        view(times),
    );
    section("Events", &all.last_events(EVENTS), view(times));
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

fn section(name: &str, part: &Timeline, view: TimelineView) {
    if part.is_empty() {
        return;
    }
    line(&format!("{name}:"));
    let text = part.render(view);
    text.lines()
        .for_each(|text| line(&format!("{INDENT}{text}")));
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

/// Prints a field, unless it is empty.
fn field(name: &str, value: &str) {
    if value.is_empty() {
        return;
    }
    let value = host_text::shown(value);
    line(&format!("{:<12} {value}", format!("{name}:")));
}
