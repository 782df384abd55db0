//! Data disks, and references to what is there already.

use k8s_openapi::jiff::Timestamp;
use serde_json::{Map, Value};
use vsiflow_workflows::fleet::{DiskObject, FleetError, NetworkInfo};

use super::{
    LONGEST_XML, accepted, condition, finish, held, is_told_by_another, made, refusal, tail, told,
};
use crate::{crd::ReferenceStatus, status_queue::Findings};

/// A network's name on its host, and what the host shows of it.
pub(crate) type Network = (String, Result<Option<NetworkInfo>, FleetError>);

/// What the status of a data disk or a reference is to say; `disk` is what the fleet knows of a
/// data disk that is made, `network` what a host shows of a network.
pub(crate) fn reference(
    findings: &Findings,
    disk: Option<&DiskObject>,
    network: Option<Network>,
    before: &ReferenceStatus,
    now: Timestamp,
) -> ReferenceStatus {
    let mut status = match disk {
        Some(disk) => known_disk(disk),
        // By it the journal is known to be lost, or it is another's word.
        None if is_told_by_another(findings) => ReferenceStatus {
            conditions: resolved(findings).conditions,
            ..before.clone()
        },
        None => resolved(findings),
    };
    status.description = tail(&status.description);
    if let Some((name, found)) = network
        && status.phase.as_deref() == Some("Referenced")
    {
        add_network(&mut status, &name, found, before);
    }
    status.conditions.extend(accepted(findings));
    if let Some(hold) = &findings.hold {
        let (name, reason, message) = held(hold);
        status.conditions.push(made(name, true, reason, &message));
    }
    let generation = findings.generation;
    finish(&mut status.conditions, &before.conditions, generation, now);
    status.observed_generation = Some(generation);
    status.used_by.clone_from(&findings.used_by);
    status
}

/// Adds what the host shows of a network, as the operator before this one told it. What was told
/// before stays where the host does not answer.
fn add_network(
    status: &mut ReferenceStatus,
    name: &str,
    found: Result<Option<NetworkInfo>, FleetError>,
    before: &ReferenceStatus,
) {
    let wrong = match found {
        Ok(Some(network)) => {
            if network.xml.len() <= LONGEST_XML {
                status.metadata = Some(metadata(name, &network.xml));
                status.description = network.xml;
            }
            (!network.active).then_some("Inactive")
        }
        Ok(None) => Some("Missing"),
        Err(_) => {
            status.metadata.clone_from(&before.metadata);
            status.description.clone_from(&before.description);
            None
        }
    };
    if let Some(reason) = wrong {
        status.status = 2;
        status.phase = Some(reason.to_owned());
        let message = format!(
            "the network {name} is {} on its host",
            reason.to_lowercase()
        );
        if reason == "Missing" {
            status.description.clone_from(&message);
        }
        let mut all = status.conditions.iter_mut();
        if let Some(ready) = all.find(|one| one.name == "Ready") {
            ready.status = "False".to_owned();
            (ready.reason, ready.message) = (reason.to_owned(), message);
        }
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
        run_id: is.run_id.clone(),
        conditions: is.conditions.iter().map(condition).collect(),
        ..ReferenceStatus::default()
    }
}

/// What is there already is ready as soon as it is known where; a disk that is to be made waits.
fn resolved(findings: &Findings) -> ReferenceStatus {
    let wrong = !findings.problems.is_empty() || findings.refusal.is_some();
    let (ready, status, reason) = match (wrong, findings.is_made) {
        (true, _) => (false, 2, "Blocked"),
        (false, true) => (false, 0, "Pending"),
        (false, false) => (true, 1, "Resolved"),
    };
    let message = match &findings.refusal {
        Some(failure) if findings.problems.is_empty() => refusal(failure),
        _ => told(&findings.problems),
    };
    ReferenceStatus {
        status,
        description: message.clone(),
        phase: Some(if ready { "Referenced" } else { reason }.to_owned()),
        host: findings.host.clone(),
        conditions: vec![made("Ready", ready, reason, &message)],
        ..ReferenceStatus::default()
    }
}
