//! The status conditions of a VSI, in the form of Kubernetes.

use std::collections::BTreeMap;

use vsiflow_engine::model::{Failure, Name, NodeState, RunState, Timestamp};

pub use crate::fleet::object::Condition;
pub(in crate::fleet) use crate::fleet::object::condition;
use crate::fleet::{index::Known, object::rfc3339, vsi::retained_refs};
use crate::{drift, phase::Phase, plan::Plan};

/// All conditions of a VSI. `done` has the time of each node's last success, and `since` is the time of the
/// VSI's last state change.
pub(in crate::fleet) fn of(
    known: &Known,
    run: Option<&RunState>,
    obstacle: Option<&Failure>,
    proposal: Option<&Plan>,
    done: &BTreeMap<Name, Timestamp>,
    since: Timestamp,
) -> Vec<Condition> {
    let phase = known.phase();
    let detail = known
        .state
        .state
        .as_ref()
        .map(|(_, detail)| detail.to_string());
    let detail = obstacle
        .map(ToString::to_string)
        .or(detail)
        .unwrap_or_default();
    let reason = obstacle.map_or_else(|| phase.to_string(), |failure| failure.code.to_string());
    let make =
        |name, holds, why_not: &str, message: &str| condition(name, holds, why_not, message, since);
    let why = why_degraded(known);
    let ready = is_ready(known);
    let busy = known.state.active.is_some();
    let mut conditions = vec![
        make("Ready", ready, &reason, &detail),
        make(
            "Progressing",
            busy && phase != Phase::Blocked,
            phase.as_str(),
            "",
        ),
        make("Degraded", phase == Phase::Degraded, why.0, &why.1),
    ];
    if let Some(failure) = obstacle.filter(|failure| failure.code.as_str() == JOURNAL_BEHIND) {
        let code = failure.code.as_str();
        conditions.push(make("JournalBehind", true, code, &failure.to_string()));
    }
    let drift_message = known.state.state.as_ref();
    let drift_message = drift_message.and_then(|(_, of_drift)| drift::message(of_drift));
    let (_, of_host) = drift_message.map(drift::apart).unwrap_or_default();
    if !of_host.is_empty() {
        let found = of_host.join("; ");
        let found = found.as_str();
        conditions.push(make("Drift", true, "Changed", found));
        if let Some(networks) = drift::networks(found) {
            conditions.push(make("NetworksReady", false, "NotActive", &networks));
        }
    }
    if let Some(plan) = proposal {
        let how = plan.how().map(|how| how.to_string()).unwrap_or_default();
        let paths: Vec<_> = plan.changes.iter().map(|c| c.path.as_str()).collect();
        let message = format!(
            "a change of {} waits for `vsiflow approve`: {how}",
            paths.join(", ")
        );
        conditions.push(make("UpdateApproved", false, "AwaitingApproval", &message));
    }
    if !known.record.retained_refs.is_empty() {
        let message = retained_refs::words(&known.record.retained_refs.join(", "));
        conditions.push(make("ReferencesResolved", false, "Missing", &message));
    }
    let has_contract = known.record.vsi.guest_type().is_hyper_protect();
    let nodes = NODES.iter();
    for (name, step_nodes) in nodes.filter(|(name, _)| has_contract || *name != CONTRACT_ACCEPTED) {
        conditions.push(by_node(name, step_nodes, run, done, since));
    }
    conditions
}

/// Whether the VSI is ready.
pub(in crate::fleet) fn is_ready(known: &Known) -> bool {
    match known.phase() {
        Phase::Degraded => why_degraded(known).1.is_empty(),
        phase => phase == Phase::Running,
    }
}

/// Why the guest is degraded: a reason for machines, and a sentence that is empty if the guest is healthy.
fn why_degraded(known: &Known) -> (&'static str, String) {
    let recorded = known.state.state.as_ref();
    let found = recorded.map(|(_, detail)| drift::of_guest_in(detail));
    let found = found.unwrap_or_default();
    let words: Vec<_> = found.iter().map(ToString::to_string).collect();
    if words.is_empty() {
        (known.phase().as_str(), String::new())
    } else {
        ("GuestUnhealthy", words.join("; "))
    }
}

/// That the guest reported at its boot what it did not apply; its own words.
pub(in crate::fleet) fn guest_setup(warnings: &[String], since: Timestamp) -> Option<Condition> {
    let incomplete = || {
        condition(
            "GuestSetup",
            false,
            "Incomplete",
            &warnings.join("; "),
            since,
        )
    };
    (!warnings.is_empty()).then(incomplete)
}

/// The error code for a host that has seen a newer copy of this journal.
pub(super) const JOURNAL_BEHIND: &str = "VSI0211";

/// The condition that only Hyper Protect guests have.
const CONTRACT_ACCEPTED: &str = "ContractAccepted";

/// The conditions that follow from the success of a step.
const NODES: [(&str, &[&str]); 3] = [
    ("ImageReady", &["ensure_base_image"]),
    // Runs of earlier versions checked the contract when they wrote it.
    (CONTRACT_ACCEPTED, &["check_contract", "write_cidata"]),
    ("Booted", &["monitor_console"]),
];

fn by_node(
    name: &'static str,
    nodes: &[&str],
    run: Option<&RunState>,
    successes: &BTreeMap<Name, Timestamp>,
    since: Timestamp,
) -> Condition {
    let nodes = nodes.iter().map(|node| Name::of(node));
    let state = run.and_then(|run| nodes.clone().find_map(|node| run.nodes.get(&node)));
    let done = nodes.filter_map(|node| successes.get(&node).copied()).max();
    let (status, reason, message) = match (state, done) {
        (Some(NodeState::Succeeded { .. }), _) | (None, Some(_)) => ("True", "Done", String::new()),
        (Some(state), _) => match state.failure() {
            Some(failure) => ("False", failure.code.as_str(), failure.to_string()),
            None => ("Unknown", "Pending", String::new()),
        },
        (None, None) => ("Unknown", "Pending", String::new()),
    };
    Condition {
        name: name.into(),
        status: status.into(),
        reason: reason.to_owned(),
        message,
        last_transition_time: rfc3339(done.unwrap_or(since)),
    }
}
