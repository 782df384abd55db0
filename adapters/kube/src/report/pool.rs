//! The status and Events of pools.

use k8s_openapi::jiff::Timestamp;
use uuid::Uuid;
use vsiflow_workflows::{fleet::PoolObject, pool};

use super::{
    Settlement, approved_by, condition,
    members::{self, MembersReport, ReportedStatus, event, number},
};
use crate::{
    crd::{PoolResourceStatus, ProposedChange},
    events::EventNote,
    status_queue::StatusFindings,
};

/// The status of a pool; `object` is the fleet's report.
pub(crate) fn pool(
    findings: &StatusFindings,
    object: Option<&PoolObject>,
    before: &PoolResourceStatus,
    now: Timestamp,
) -> PoolResourceStatus {
    let report = MembersReport {
        known: object.map(known),
        settlement: Settlement::of_pool(findings, object),
    };
    members::status(findings, report, before, now)
}

fn known(object: &PoolObject) -> PoolResourceStatus {
    let is = &object.status;
    let desired = object
        .spec
        .get("replicas")
        .and_then(serde_json::Value::as_u64);
    let proposal = is.proposed_revision.as_ref().zip(is.proposal.as_ref());
    let proposal = proposal.map(|(id, plan)| ProposedChange {
        id: id.clone(),
        plan: plan.clone(),
    });
    let mut conditions: Vec<_> = is.conditions.iter().map(condition).collect();
    if let Some(proposal) = &proposal {
        let mut all = conditions.iter_mut();
        if let Some(waits) = all.find(|one| one.name == "UpdateApproved") {
            waits.message = format!(
                "a change of the template waits: the annotation {} approves it",
                approved_by(&proposal.id)
            );
        }
    }
    PoolResourceStatus {
        observed_generation: None,
        phase: Some(is.phase.to_owned()),
        replicas: number(is.replicas),
        desired_replicas: desired.and_then(|count| i32::try_from(count).ok()),
        ready_replicas: number(is.ready_replicas),
        updated_replicas: number(is.updated_replicas),
        selector: format!("{}={}", pool::LABEL, object.metadata.name),
        revision: Some(is.revision.clone()),
        message: is.message.clone(),
        proposal,
        served_by: None,
        warnings: Vec::new(),
        conditions,
    }
}

/// The Event of a changed status; none if the state is the same.
pub(crate) fn pool_event(
    uid: Uuid,
    before: &PoolResourceStatus,
    after: &PoolResourceStatus,
) -> Option<EventNote> {
    let message = match (after.message.is_empty(), &after.desired_replicas) {
        (true, Some(desired)) => format!("{} of {desired} members ready", after.ready_replicas),
        _ => after.message.clone(),
    };
    event(uid, &reported(before), &reported(after), &message)
}

fn reported(status: &PoolResourceStatus) -> ReportedStatus<'_> {
    ReportedStatus {
        phase: status.phase.as_deref(),
        reported: status.reported(),
    }
}
