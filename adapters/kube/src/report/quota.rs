//! The status and Events of quotas.

use k8s_openapi::jiff::Timestamp;
use uuid::Uuid;
use vsiflow_workflows::fleet::QuotaObject;

use super::{FinishedReport, Settlement, accepted, hold_condition, made, refusal_event};
use crate::{
    crd::{QuotaResourceStatus, ResourceCondition},
    events::EventNote,
    status_queue::StatusFindings,
};

/// The status of a quota; `object` is the fleet's report.
pub(crate) fn quota(
    findings: &StatusFindings,
    object: Option<&QuotaObject>,
    before: &QuotaResourceStatus,
    now: Timestamp,
) -> QuotaResourceStatus {
    let mut status = object.map(known).unwrap_or_default();
    let accepted = accepted(findings);
    let refused = accepted.iter().find(|one| one.status == "False");
    let message = refused.map(|one| one.message.clone()).unwrap_or_default();
    status.conditions.push(match (object, refused) {
        // The previous limits hold until the current resource can be read.
        (Some(_), _) => made("Ready", true, "Enforced", ""),
        (None, Some(_)) => made("Ready", false, "Blocked", &message),
        (None, None) => made("Ready", false, "Pending", ""),
    });
    status.conditions.extend(accepted);
    if let Some(hold) = &findings.hold {
        let (name, reason, why) = hold_condition(hold);
        status.conditions.push(made(name, true, reason, &why));
    }
    status.message = if message.is_empty() {
        exceeded(&status).map(|one| one.message.clone())
    } else {
        Some(message)
    }
    .unwrap_or_default();
    let report = FinishedReport {
        findings,
        settlement: Settlement::of_quota(findings, object.is_some()),
        before: &before.conditions,
        now,
    };
    report.finish(&mut status.conditions);
    status.observed_generation = Some(findings.generation);
    status
}

fn known(object: &QuotaObject) -> QuotaResourceStatus {
    let (hard, used) = (&object.status.hard, &object.status.used);
    let both = hard.iter().filter_map(|(name, hard)| {
        let used = used.get(name)?;
        Some(format!("{name}: {used}/{hard}"))
    });
    let within = match object.status.exceeded.as_slice() {
        [] => made("WithinLimits", true, "WithinLimits", ""),
        over => {
            let message = format!(
                "more is used than the quota allows of {}: what is there stays, and nothing may grow",
                over.join(", ")
            );
            made("WithinLimits", false, "Exceeded", &message)
        }
    };
    QuotaResourceStatus {
        hard: hard.clone(),
        used: used.clone(),
        summary: both.collect::<Vec<_>>().join(", "),
        conditions: vec![within],
        ..QuotaResourceStatus::default()
    }
}

fn exceeded(status: &QuotaResourceStatus) -> Option<&ResourceCondition> {
    let mut all = status.conditions.iter();
    all.find(|one| one.name == "WithinLimits" && one.status == "False")
}

/// The Event of a changed status: if the quota was refused or took effect, or if more is used than it
/// allows.
pub(crate) fn quota_event(
    uid: Uuid,
    before: &QuotaResourceStatus,
    after: &QuotaResourceStatus,
) -> Option<EventNote> {
    let refused = refusal_event(uid, before.reported(), after.reported());
    if refused.is_some() {
        return refused;
    }
    let is_ready = |status: &QuotaResourceStatus| {
        let mut all = status.conditions.iter();
        all.any(|one| one.name == "Ready" && one.status == "True")
    };
    let (reason, warning, message) = match exceeded(after) {
        Some(over) if exceeded(before).is_none() => {
            ("Exceeded".to_owned(), true, over.message.clone())
        }
        _ if is_ready(after) && !is_ready(before) => {
            ("Enforced".to_owned(), false, after.summary.clone())
        }
        _ => return None,
    };
    let moment = after.conditions.first();
    let moment = moment.map(|one| &*one.last_transition_time);
    let mark = format!("{reason} {message} {}", moment.unwrap_or_default());
    Some(EventNote::became(uid, &mark, warning, &reason, &message))
}
