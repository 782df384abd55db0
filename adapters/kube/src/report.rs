//! Computes the status of resources.
//!
//! Pure functions: from what the fleet reports, what a translation found and the previous status, to the
//! new status. The transition time of a condition is retained while its status is the same.

mod group;
mod members;
mod pool;
mod quota;
mod reference;
mod refusal;
mod settlement;
mod snapshot;

use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use vsiflow_engine::model::Failure;
use vsiflow_steps::hpl::cut;
use vsiflow_workflows::{fleet::VsiObject, phase::Phase, spec::Problem};

pub(crate) use self::group::{group, group_event};
pub(crate) use self::pool::{pool, pool_event};
pub(crate) use self::quota::{quota, quota_event};
pub(crate) use self::reference::{ReferenceShown, add_names, network, reference, reference_event};
pub(crate) use self::refusal::{ReportedConditions, refusal_event};
use self::settlement::{FinishedReport, Settlement};
pub(crate) use self::snapshot::snapshot;
use crate::{
    APPROVE,
    crd::{OldMetadata, ProposedChange, ResourceCondition, VsiResourceStatus},
    status_queue::{Hold, StatusFindings},
};

/// The maximum length of a description or log, in bytes.
const MAX_LEN: usize = 16 * 1024;
/// The maximum length of a definition, in bytes; a truncated definition would be useless.
pub(super) const MAX_XML_LEN: usize = 64 * 1024;

/// The status of a VSI.
pub(crate) fn vsi(
    findings: &StatusFindings,
    object: Option<&VsiObject>,
    before: &VsiResourceStatus,
    now: Timestamp,
) -> VsiResourceStatus {
    let mut status = match object {
        Some(object) => known(object),
        // The previous status remains: either it shows that the journal is lost, or another process
        // reported it.
        None if is_reported_by_another(findings) => VsiResourceStatus {
            conditions: unknown(findings).conditions,
            warnings: Vec::new(),
            ..before.clone()
        },
        None => unknown(findings),
    };
    let accepted = accepted(findings);
    if let Some(wrong) = accepted.iter().find(|one| one.status == "False")
        && object.is_none()
    {
        status.status = 2;
        status.description.clone_from(&wrong.message);
        for ready in status
            .conditions
            .iter_mut()
            .filter(|one| one.name == "Ready")
        {
            ready.reason.clone_from(&wrong.reason);
            ready.message.clone_from(&wrong.message);
        }
    }
    status.conditions.extend(accepted);
    status.warnings.extend(findings.warnings.iter().cloned());
    if let Some(hold) = &findings.hold {
        hold_back(&mut status, hold);
    }
    status.observed_generation = Some(findings.generation);
    status.recorded_generation = findings.recorded_generation;
    let settlement = Settlement::of_vsi(findings, object);
    let report = FinishedReport {
        findings,
        settlement,
        before: &before.conditions,
        now,
    };
    report.finish(&mut status.conditions);
    status.description = tail(&status.description);
    status
}

fn is_reported_by_another(findings: &StatusFindings) -> bool {
    let hold = findings.hold.as_ref();
    hold.is_some_and(|hold| matches!(hold, Hold::JournalLost | Hold::NotMigrated(_)))
}

fn known(object: &VsiObject) -> VsiResourceStatus {
    let is = &object.status;
    let console = match is.phase {
        Phase::Running | Phase::Degraded => is.description.clone(),
        _ => String::new(),
    };
    let metadata = OldMetadata {
        logs: tail(&console),
        ipaddresses: is.ip_addresses.clone(),
        domain_xml: String::new(),
    };
    VsiResourceStatus {
        status: i32::from(is.status),
        description: is.description.clone(),
        metadata: (metadata != OldMetadata::default()).then_some(metadata),
        observed_generation: None,
        phase: Some(is.phase.to_string()),
        current_step: is.current_step.clone(),
        progress: is.progress.as_ref().map(progress),
        ip_addresses: is.ip_addresses.clone(),
        run_id: is.run_id.clone(),
        proposal: is.proposal.as_ref().map(|waiting| ProposedChange {
            id: waiting.id.clone(),
            plan: waiting.plan.clone(),
        }),
        host: Some(is.host.clone()),
        image: shown_text(&object.spec, "/imageURL"),
        storage_pool: shown_text(&object.spec, "/storagePool"),
        guest: shown_text(&object.spec, "/guest/type"),
        served_by: None,
        recorded_generation: None,
        warnings: is.warnings.clone(),
        conditions: is
            .conditions
            .iter()
            .map(|one| approvable(condition(one), object))
            .collect(),
    }
}

/// A text of a recorded spec.
fn shown_text(spec: &Value, path: &str) -> Option<String> {
    let text = spec.pointer(path)?.as_str()?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// In a cluster, an annotation approves changes.
fn approvable(condition: ResourceCondition, object: &VsiObject) -> ResourceCondition {
    let Some(waiting) = &object.status.proposal else {
        return condition;
    };
    if condition.name != "UpdateApproved" {
        return condition;
    }
    let paths: Vec<_> = waiting.plan.changes.iter().map(|c| &*c.path).collect();
    let how = waiting.plan.how().map(|how| how.to_string());
    ResourceCondition {
        message: format!(
            "a change of {} waits ({}): `kubectl vsi approve {}` shows and approves it, as does \
             the annotation {APPROVE}={}",
            paths.join(", "),
            how.unwrap_or_default(),
            object.metadata.name,
            waiting.id,
        ),
        ..condition
    }
}

/// The annotation that approves a proposal.
fn approved_by(id: &str) -> String {
    format!("{APPROVE}={id}")
}

/// Adds a definition as its host printed it, or the previously reported one if there is none now.
pub(crate) fn add_definition(
    status: &mut VsiResourceStatus,
    xml: Option<String>,
    before: &VsiResourceStatus,
) {
    let earlier = || before.metadata.as_ref().map(|old| old.domain_xml.clone());
    let xml = xml.filter(|xml| xml.len() <= MAX_XML_LEN).or_else(earlier);
    let xml = xml.unwrap_or_default();
    if !xml.is_empty() {
        status
            .metadata
            .get_or_insert_with(OldMetadata::default)
            .domain_xml = xml;
    }
}

/// The status of a VSI that was not passed to the fleet yet.
fn unknown(findings: &StatusFindings) -> VsiResourceStatus {
    let blocked = !findings.problems.is_empty() || findings.refusal.is_some();
    let phase = if blocked {
        Phase::Blocked
    } else {
        Phase::Pending
    };
    VsiResourceStatus {
        phase: Some(phase.to_string()),
        conditions: vec![
            made("Ready", false, phase.as_str(), ""),
            made("Progressing", !blocked, phase.as_str(), ""),
        ],
        ..VsiResourceStatus::default()
    }
}

fn progress(progress: &vsiflow_workflows::fleet::VsiProgress) -> String {
    let steps = format!("{}/{}", progress.done, progress.total);
    let upload = progress.upload.as_ref();
    let share = upload.and_then(|upload| {
        let total = upload.total_bytes.filter(|total| *total > 0)?;
        upload.bytes.saturating_mul(100).checked_div(total)
    });
    match share {
        Some(percent) => format!("{steps}, {percent}% uploaded"),
        None => steps,
    }
}

fn condition(one: &vsiflow_workflows::fleet::Condition) -> ResourceCondition {
    ResourceCondition {
        name: one.name.to_string(),
        status: one.status.to_string(),
        reason: reason(&one.reason),
        message: one.message.clone(),
        last_transition_time: whole_seconds(&one.last_transition_time),
        observed_generation: None,
    }
}

/// Kubernetes times have no fractions of a second.
fn whole_seconds(time: &str) -> String {
    match time.parse::<Timestamp>() {
        Ok(time) => seconds(time),
        Err(_) => time.to_owned(),
    }
}

/// Reasons of conditions begin with a letter and are never empty.
fn reason(reason: &str) -> String {
    if reason.is_empty() {
        "Unknown".to_owned()
    } else {
        reason.to_owned()
    }
}

/// Message of a generation that waits to be recorded.
const NOT_RECORDED: &str = "this generation is not recorded yet";

/// A condition of which nothing is known.
fn unknown_condition(name: &str, reason: &str, message: &str) -> ResourceCondition {
    ResourceCondition {
        status: "Unknown".to_owned(),
        ..made(name, false, reason, message)
    }
}

fn made(name: &str, holds: bool, reason: &str, message: &str) -> ResourceCondition {
    ResourceCondition {
        name: name.to_owned(),
        status: if holds { "True" } else { "False" }.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        ..ResourceCondition::default()
    }
}

/// The condition that says whether the current resource was accepted.
fn accepted(findings: &StatusFindings) -> Vec<ResourceCondition> {
    let condition = match (findings.problems.as_slice(), &findings.refusal) {
        ([], None) if findings.is_pending => unknown_condition("Accepted", "Pending", NOT_RECORDED),
        ([], None) => made("Accepted", true, "Accepted", ""),
        ([], Some(failure)) => made("Accepted", false, failure.code.as_str(), &refusal(failure)),
        ([first, ..], _) => made(
            "Accepted",
            false,
            first.code.as_str(),
            &problems_text(&findings.problems),
        ),
    };
    vec![condition]
}

pub(crate) fn refusal(failure: &Failure) -> String {
    if failure.remedy.is_empty() {
        failure.to_string()
    } else {
        format!("{failure}. {}", failure.remedy)
    }
}

/// The most bytes of one problem, and of all, in a message: a status has to fit into an object.
const PROBLEM_LEN_MAX: usize = 2 * 1024;
const PROBLEMS_LEN_MAX: usize = 16 * 1024;

/// Problems as text for people.
pub(crate) fn problems_text(problems: &[Problem]) -> String {
    let one = |problem: &Problem| {
        let place = if problem.path.is_empty() {
            String::new()
        } else {
            format!("{}: ", problem.path)
        };
        let words = format!("{place}{} ({})", problem.message, problem.remedy);
        match cut(&words, PROBLEM_LEN_MAX) {
            whole if whole.len() == words.len() => words,
            beginning => format!("{beginning}…"),
        }
    };
    let mut text = String::new();
    for (place, problem) in problems.iter().enumerate() {
        if !text.is_empty() {
            text.push_str("; ");
        }
        if text.len() > PROBLEMS_LEN_MAX {
            let more = problems.len().saturating_sub(place);
            text.push_str(&format!("and {more} more"));
            break;
        }
        text.push_str(&one(problem));
    }
    text
}

fn hold_back(status: &mut VsiResourceStatus, hold: &Hold) {
    let (name, reason, message) = hold_condition(hold);
    status.conditions.push(made(name, true, reason, &message));
    match hold {
        Hold::JournalLost => {
            status.status = 2;
            status.phase = Some(Phase::Blocked.to_string());
            status.description = message;
        }
        // Number and description remain those of the process that still serves it.
        Hold::NotMigrated(_) if status.run_id.is_none() => {
            status.phase = Some(Phase::Blocked.to_string());
            let mut all = status.conditions.iter_mut();
            if let Some(ready) = all.find(|one| one.name == "Ready") {
                (ready.reason, ready.message) = (reason.to_owned(), message);
            }
        }
        _ => {}
    }
}

fn hold_condition(hold: &Hold) -> (&'static str, &'static str, String) {
    match hold {
        Hold::JournalLost => (
            "JournalLost",
            "VSI1002",
            "this resource was served before, and the state directory does not know it: vsiflow \
             does nothing for it. Restore the state directory; or adopt the existing domains with \
             --journal-lost=adopt; or, to delete the resource and leave everything on the host, \
             annotate it with vsiflow.io/orphan=true and delete it"
                .to_owned(),
        ),
        Hold::NotMigrated(finalizer) => (
            "NotMigrated",
            "VSI1003",
            format!(
                "k8s-operator-hpcr may still act on it: it has the finalizer {finalizer}, and \
                 vsiflow does nothing for it. Remove that operator, then move the resource: \
                 `vsiflow migrate --apply -n NAMESPACE`"
            ),
        ),
        Hold::InUse(users) => (
            "InUse",
            "VSI0210",
            format!(
                "it is used by {}; it is deleted when they release it",
                users.join(", ")
            ),
        ),
        Hold::Removed => (
            "Removed",
            "Deleted",
            "it was deleted by a command, and its resource stayed: delete the resource, or change \
             it to have it made again"
                .to_owned(),
        ),
    }
}

/// A time in the format of Kubernetes.
fn seconds(time: Timestamp) -> String {
    let whole = Timestamp::from_second(time.as_second()).unwrap_or(time);
    format!("{whole:.0}")
}

/// The end of a text, at most [`MAX_LEN`] bytes.
fn tail(text: &str) -> String {
    let from = text.len().saturating_sub(MAX_LEN);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    text.get(from.unwrap_or_default()..)
        .unwrap_or_default()
        .to_owned()
}

/// Whether the difference can wait a moment, because only the progress changed.
pub(crate) fn is_only_progress(old: &VsiResourceStatus, new: &VsiResourceStatus) -> bool {
    let plain = |status: &VsiResourceStatus| VsiResourceStatus {
        progress: None,
        current_step: None,
        ..status.clone()
    };
    old != new && plain(old) == plain(new)
}

#[cfg(test)]
mod tests;
