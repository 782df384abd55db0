//! Data disks, and references to what is there already.

use k8s_openapi::jiff::Timestamp;
use vsiflow_workflows::fleet::DiskObject;

use super::{accepted, condition, finish, held, made, refusal, tail, told};
use crate::{crd::ReferenceStatus, desk::Findings};

/// What the status of a data disk or a reference is to say; `disk` is what the fleet knows of a
/// data disk that is made.
pub(crate) fn reference(
    findings: &Findings,
    disk: Option<&DiskObject>,
    before: &ReferenceStatus,
    now: Timestamp,
) -> ReferenceStatus {
    let mut status = match disk {
        Some(disk) => known_disk(disk),
        None => resolved(findings),
    };
    status.conditions.extend(accepted(findings));
    if let Some(hold) = &findings.hold {
        let (name, reason, message) = held(hold);
        status.conditions.push(made(name, true, reason, &message));
    }
    let generation = findings.generation;
    finish(&mut status.conditions, &before.conditions, generation, now);
    status.observed_generation = Some(generation);
    status.used_by.clone_from(&findings.used_by);
    status.description = tail(&status.description);
    status
}

fn known_disk(disk: &DiskObject) -> ReferenceStatus {
    let is = &disk.status;
    ReferenceStatus {
        status: i32::from(is.status),
        description: is.description.clone(),
        phase: Some(is.phase.clone()),
        host: Some(is.host.clone()),
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
