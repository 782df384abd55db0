//! The status of snapshots.

use k8s_openapi::jiff::Timestamp;
use vsiflow_workflows::{fleet::SnapshotObject, spec::Quantity};

use super::{
    accepted, condition, hold_condition, is_reported_by_another, made,
    reference::{complete, resolved},
    shown_text, tail,
};
use crate::{crd::ReferenceStatus, status_queue::StatusFindings};

/// The status of a snapshot; `object` is the fleet's report.
pub(crate) fn snapshot(
    findings: &StatusFindings,
    object: Option<&SnapshotObject>,
    before: &ReferenceStatus,
    now: Timestamp,
) -> ReferenceStatus {
    let mut status = match object {
        Some(object) => known(object),
        None if is_reported_by_another(findings) => ReferenceStatus {
            conditions: resolved(findings).conditions,
            ..before.clone()
        },
        None => resolved(findings),
    };
    status.description = tail(&status.description);
    status.conditions.extend(accepted(findings));
    if let Some(hold) = &findings.hold {
        let (name, reason, message) = hold_condition(hold);
        status.conditions.push(made(name, true, reason, &message));
    }
    complete(&mut status, findings, before, now);
    status
}

fn known(object: &SnapshotObject) -> ReferenceStatus {
    let is = &object.status;
    ReferenceStatus {
        status: match is.phase.as_str() {
            "Ready" => 1,
            "Blocked" | "Failed" => 2,
            _ => 0,
        },
        description: is.description.clone(),
        phase: Some(is.phase.clone()),
        host: Some(is.host.clone()),
        virtual_server: shown_text(&object.spec, "/virtualServer"),
        size: is.size.map(|bytes| Quantity(bytes).to_string()),
        run_id: is.run_id.clone(),
        conditions: is.conditions.iter().map(condition).collect(),
        ..ReferenceStatus::default()
    }
}
