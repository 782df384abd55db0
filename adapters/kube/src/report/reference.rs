//! The status of data disks, networks, and references to existing volumes and networks.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;
use vsiflow_workflows::{
    fleet::{DiskObject, NetworkInfo, NetworkState},
    spec::Quantity,
};

use super::{
    FinishedReport, MAX_XML_LEN, Settlement, accepted, condition, hold_condition,
    is_reported_by_another, made,
    members::{ReportedStatus, event},
    problems_text, refusal, shown_text, tail,
};
use crate::{
    crd::{ReferenceStatus, ResourceCondition},
    events::EventNote,
    status_queue::StatusFindings,
};

/// What the host reports about the object that a resource refers to, by its name there; or why it did
/// not answer.
pub(crate) enum ReferenceShown {
    /// A network.
    Network(String, Result<Option<NetworkInfo>, String>),
    /// A volume, and whether it exists.
    Volume(String, Result<bool, String>),
}

/// The status of a data disk or a reference. `disk` is the fleet's report of a made data disk, `shown`
/// the host's report of an existing object.
pub(crate) fn reference(
    findings: &StatusFindings,
    disk: Option<&DiskObject>,
    shown: Option<ReferenceShown>,
    before: &ReferenceStatus,
    now: Timestamp,
) -> ReferenceStatus {
    let mut status = match disk {
        Some(disk) => known_disk(disk),
        // The previous status shows that the journal is lost, or another process reported it.
        None if is_reported_by_another(findings) => ReferenceStatus {
            conditions: resolved(findings).conditions,
            ..before.clone()
        },
        None => resolved(findings),
    };
    status.description = tail(&status.description);
    if let Some(shown) = shown
        && is_waiting(&status)
    {
        add(&mut status, shown, findings, before);
    }
    status.conditions.extend(accepted(findings));
    if let Some(hold) = &findings.hold {
        let (name, reason, message) = hold_condition(hold);
        status.conditions.push(made(name, true, reason, &message));
    }
    complete(&mut status, findings, before, now);
    status.used_by.clone_from(&findings.used_by);
    status
}

/// Completes the conditions of a status.
pub(super) fn complete(
    status: &mut ReferenceStatus,
    findings: &StatusFindings,
    before: &ReferenceStatus,
    now: Timestamp,
) {
    let report = FinishedReport {
        findings,
        settlement: Settlement::of_reference(findings, status),
        before: &before.conditions,
        now,
    };
    report.finish(&mut status.conditions);
    status.observed_generation = Some(findings.generation);
    status.recorded_generation = findings.recorded_generation;
}

/// The status of a network that vsiflow makes; `states` are those on its hosts.
pub(crate) fn network(
    findings: &StatusFindings,
    states: &[NetworkState],
    before: &ReferenceStatus,
    now: Timestamp,
) -> ReferenceStatus {
    let wrong = !findings.problems.is_empty() || findings.refusal.is_some();
    let mut status = match is_reported_by_another(findings) {
        true => ReferenceStatus {
            conditions: resolved(findings).conditions,
            ..before.clone()
        },
        false if wrong => resolved(findings),
        false => on_hosts(states),
    };
    let hosts: Vec<_> = states.iter().map(|state| state.host.as_str()).collect();
    status.host = Some(hosts.join(",")).filter(|hosts| !hosts.is_empty());
    status.description = tail(&status.description);
    status.conditions.extend(accepted(findings));
    complete(&mut status, findings, before, now);
    status.used_by.clone_from(&findings.used_by);
    status
}

/// The Event of a data disk, a network, a snapshot or a reference.
pub(crate) fn reference_event(
    uid: Uuid,
    before: &ReferenceStatus,
    after: &ReferenceStatus,
) -> Option<EventNote> {
    event(uid, &reported(before), &reported(after), &after.description)
}

fn reported(status: &ReferenceStatus) -> ReportedStatus<'_> {
    ReportedStatus {
        phase: status.phase.as_deref(),
        reported: status.reported(),
    }
}

/// The worst state among the hosts of a network is its status.
fn on_hosts(states: &[NetworkState]) -> ReferenceStatus {
    let unwell = states.iter().find(|state| state.phase != "Ready");
    let (number, phase, ready, message) = match unwell {
        None if states.is_empty() => {
            let message = "no server refers to it: it is on no host";
            let ready = ResourceCondition {
                status: "Unknown".to_owned(),
                ..made("Ready", false, "Unused", message)
            };
            (0, "Unused", ready, String::new())
        }
        None => (1, "Ready", made("Ready", true, "Ready", ""), String::new()),
        Some(state) => {
            let number = if state.phase == "Blocked" { 2 } else { 0 };
            let message = format!("on host {}: {}", state.host, state.message);
            let ready = made("Ready", false, &state.phase, &message);
            (number, state.phase.as_str(), ready, message)
        }
    };
    ReferenceStatus {
        status: number,
        description: message,
        phase: Some(phase.to_owned()),
        conditions: vec![ready],
        ..ReferenceStatus::default()
    }
}

/// Adds what a reference or a network names. While its present generation is refused, that of the earlier
/// one remains.
pub(crate) fn add_names(
    status: &mut ReferenceStatus,
    findings: &StatusFindings,
    spec: &Value,
    before: &ReferenceStatus,
) {
    let is_refused = findings.refusal.is_some() || !findings.problems.is_empty();
    let name = |path: &str, earlier: &Option<String>| {
        if is_refused {
            earlier.clone()
        } else {
            shown_text(spec, path)
        }
    };
    status.volume_name = name("/volumeName", &before.volume_name);
    status.storage_pool = name("/storagePool", &before.storage_pool);
    status.network_name = name("/networkName", &before.network_name);
    status.cidr = name("/cidr", &before.cidr);
    status.mode = name("/mode", &before.mode);
}

/// The size in a document's spec, in the format of documents.
fn size(spec: &Value) -> Option<String> {
    match spec.get("size")? {
        Value::String(text) => text.parse::<Quantity>().ok().map(|_| text.clone()),
        number => Some(Quantity(number.as_u64()?).to_string()),
    }
}

/// Reason of a reference that is not ready because its host was not asked.
const NOT_ASKED: &str = "NotAsked";

fn is_waiting(status: &ReferenceStatus) -> bool {
    ready(status).is_some_and(|ready| ready.reason == NOT_ASKED)
}

fn ready(status: &ReferenceStatus) -> Option<&ResourceCondition> {
    status.conditions.iter().find(|one| one.name == "Ready")
}

/// Adds the host's report. If the host does not answer, the previous report remains.
fn add(
    status: &mut ReferenceStatus,
    shown: ReferenceShown,
    findings: &StatusFindings,
    before: &ReferenceStatus,
) {
    let wrong = match shown {
        ReferenceShown::Network(name, Ok(Some(network))) => {
            let inactive = (!network.active).then(|| wrong("network", &name, "Inactive"));
            if network.xml.len() <= MAX_XML_LEN {
                status.metadata = Some(metadata(&name, &network.xml));
                status.description = network.xml;
            }
            inactive
        }
        ReferenceShown::Network(name, Ok(None)) => Some(missing(status, "network", &name)),
        ReferenceShown::Volume(_, Ok(true)) => None,
        ReferenceShown::Volume(name, Ok(false)) => Some(missing(status, "volume", &name)),
        ReferenceShown::Network(_, Err(why)) | ReferenceShown::Volume(_, Err(why)) => {
            return unanswered(status, &why, findings, before);
        }
    };
    let (number, phase, condition) = match wrong {
        None => (1, "Referenced", made("Ready", true, "Resolved", "")),
        Some((phase, message)) => (2, phase, made("Ready", false, phase, &message)),
    };
    (status.status, status.phase) = (number, Some(phase.to_owned()));
    status.conditions = vec![condition];
}

fn wrong(what: &str, name: &str, phase: &'static str) -> (&'static str, String) {
    let message = format!("the {what} {name} is {} on its host", phase.to_lowercase());
    (phase, message)
}

fn missing(status: &mut ReferenceStatus, what: &str, name: &str) -> (&'static str, String) {
    let wrong = wrong(what, name, "Missing");
    status.description.clone_from(&wrong.1);
    wrong
}

/// A host that does not answer does not revoke its previous report about the same resource.
fn unanswered(
    status: &mut ReferenceStatus,
    why: &str,
    findings: &StatusFindings,
    before: &ReferenceStatus,
) {
    let same =
        before.observed_generation == Some(findings.generation) && before.host == status.host;
    let reported = ready(before).filter(|ready| same && ready.reason != NOT_ASKED);
    match reported {
        Some(reported) => {
            status.conditions = vec![reported.clone()];
            status.status = before.status;
            status.phase.clone_from(&before.phase);
            status.metadata.clone_from(&before.metadata);
            status.description.clone_from(&before.description);
        }
        None => status.conditions = vec![not_asked(&format!("its host could not be asked: {why}"))],
    }
}

fn not_asked(message: &str) -> ResourceCondition {
    ResourceCondition {
        status: "Unknown".to_owned(),
        ..made("Ready", false, NOT_ASKED, message)
    }
}

fn metadata(name: &str, xml: &str) -> Map<String, Value> {
    let entries = [("Name", name), ("networkXML", xml)];
    entries
        .map(|(key, text)| (key.to_owned(), Value::from(text)))
        .into_iter()
        .collect()
}

fn known_disk(disk: &DiskObject) -> ReferenceStatus {
    let is = &disk.status;
    ReferenceStatus {
        status: i32::from(is.status),
        description: is.description.clone(),
        phase: Some(is.phase.clone()),
        host: Some(is.host.clone()),
        storage_pool: shown_text(&disk.spec, "/storagePool"),
        size: size(&disk.spec),
        run_id: is.run_id.clone(),
        conditions: is.conditions.iter().map(condition).collect(),
        ..ReferenceStatus::default()
    }
}

/// The status before a host reports: an existing object is ready once its host confirms it; a disk waits
/// until it is made.
pub(super) fn resolved(findings: &StatusFindings) -> ReferenceStatus {
    let wrong = !findings.problems.is_empty() || findings.refusal.is_some();
    let message = match &findings.refusal {
        Some(failure) if findings.problems.is_empty() => refusal(failure),
        _ => problems_text(&findings.problems),
    };
    let (status, phase, ready) = match (wrong, findings.is_made) {
        (true, _) => (2, "Blocked", made("Ready", false, "Blocked", &message)),
        (false, true) => (0, "Pending", made("Ready", false, "Pending", &message)),
        (false, false) => (0, "Pending", not_asked("its host was not asked yet")),
    };
    ReferenceStatus {
        status,
        description: message,
        phase: Some(phase.to_owned()),
        host: findings.host.clone(),
        conditions: vec![ready],
        ..ReferenceStatus::default()
    }
}

#[cfg(test)]
mod tests;
