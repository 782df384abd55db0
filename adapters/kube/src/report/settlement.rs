//! How far an object is from what its resource asks for, in conditions that generic tools understand.
//!
//! `Reconciling` and `Stalled` are those of kstatus, which Flux and Helm use: they are present only while
//! they are true. `AsDesired` is also true of a server that is off or suspended as desired.

use k8s_openapi::jiff::Timestamp;
use vsiflow_workflows::{
    fleet::{PoolObject, VsiObject},
    phase::Phase,
    spec::PowerState,
};

use super::{NOT_RECORDED, hold_condition, made, problems_text, refusal, seconds};
use crate::{
    crd::{ReferenceStatus, ResourceCondition},
    status_queue::{Hold, StatusFindings},
};

/// The reason of a change that waits for approval.
const AWAITING_APPROVAL: &str = "AwaitingApproval";

/// Conditions about the present generation of the resource, whatever was accepted of it. All others are
/// about the generation that is in effect.
const OF_RESOURCE: [&str; 8] = [
    "Accepted",
    "AsDesired",
    "Reconciling",
    "Stalled",
    "JournalLost",
    "NotMigrated",
    "InUse",
    "Removed",
];

/// How far an object is from what its resource asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    /// It is what the resource asks for.
    AsDesired,
    /// It is being brought there, or waits for approval.
    Reconciling(Cause),
    /// It does not get there until somebody acts.
    Stalled(Cause),
    /// It differs, and nothing changes that: the difference was only reported.
    Different(Cause),
}

/// A reason for machines and a message for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cause {
    reason: String,
    message: String,
}

impl Cause {
    fn new(reason: &str, message: impl Into<String>) -> Self {
        Self {
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

impl Settlement {
    /// What prevents the present generation from being in effect, before anything is known of an object.
    fn of_findings(findings: &StatusFindings) -> Option<Self> {
        if let Some(problem) = findings.problems.first() {
            let message = problems_text(&findings.problems);
            return Some(Self::Stalled(Cause::new(problem.code.as_str(), message)));
        }
        if let Some(failure) = &findings.refusal {
            let cause = Cause::new(failure.code.as_str(), refusal(failure));
            return Some(Self::Stalled(cause));
        }
        if let Some(hold) = &findings.hold {
            let (name, _, message) = hold_condition(hold);
            let cause = Cause::new(name, message);
            return Some(match hold {
                Hold::InUse(_) => Self::Reconciling(cause),
                Hold::JournalLost | Hold::NotMigrated(_) | Hold::Removed => Self::Stalled(cause),
            });
        }
        let pending = || Self::Reconciling(Cause::new("Pending", NOT_RECORDED));
        findings.is_pending.then(pending)
    }

    pub(super) fn of_vsi(findings: &StatusFindings, object: Option<&VsiObject>) -> Self {
        if let Some(settlement) = Self::of_findings(findings) {
            return settlement;
        }
        let Some(object) = object else {
            return Self::Reconciling(Cause::new("Pending", ""));
        };
        let status = &object.status;
        let phase = status.phase.as_str();
        let mut conditions = status.conditions.iter();
        let ready = conditions.find(|one| one.name == "Ready");
        let message = ready.map(|one| one.message.clone()).unwrap_or_default();
        if status.proposal.is_some() {
            let cause = Cause::new(AWAITING_APPROVAL, "a change waits for approval");
            return Self::Reconciling(cause);
        }
        let is_at_work =
            status.progress.is_some() || object.metadata.generation > status.observed_generation;
        match status.phase {
            Phase::Failed | Phase::Blocked | Phase::Unreadable => {
                Self::Stalled(Cause::new(phase, message))
            }
            // The guest runs, and something prevents a change of it.
            Phase::Degraded if is_at_work => Self::Stalled(Cause::new(phase, message)),
            Phase::Degraded => Self::Different(Cause::new(phase, message)),
            Phase::Running | Phase::Stopped | Phase::Paused if !is_at_work => {
                Self::of_power(phase, &desired_power(findings, object))
            }
            _ => Self::Reconciling(Cause::new(phase, message)),
        }
    }

    fn of_power(phase: &str, desired: &str) -> Self {
        if phase == desired {
            Self::AsDesired
        } else {
            let message = format!("it is {phase}, and the resource asks for {desired}");
            Self::Different(Cause::new(phase, message))
        }
    }

    pub(super) fn of_pool(findings: &StatusFindings, pool: Option<&PoolObject>) -> Self {
        let proposed = pool.and_then(|pool| pool.status.proposal.as_ref());
        match Self::of_findings(findings) {
            Some(settlement) => settlement,
            None if proposed.is_some() => {
                let message = "a change of the template waits for approval";
                Self::Reconciling(Cause::new(AWAITING_APPROVAL, message))
            }
            None if pool.is_some_and(is_off_as_desired) => Self::AsDesired,
            None => Self::of_members(
                pool.map_or("Pending", |pool| pool.status.phase),
                pool.map_or("", |pool| &pool.status.message),
            ),
        }
    }

    pub(super) fn of_group(
        findings: &StatusFindings,
        group: Option<&vsiflow_workflows::fleet::GroupObject>,
    ) -> Self {
        let of_group = || {
            Self::of_members(
                group.map_or("Pending", |group| group.status.phase),
                group.map_or("", |group| &group.status.message),
            )
        };
        Self::of_findings(findings).unwrap_or_else(of_group)
    }

    fn of_members(phase: &str, message: &str) -> Self {
        let cause = Cause::new(phase, message);
        match phase {
            "Available" => Self::AsDesired,
            "Degraded" | "Blocked" => Self::Stalled(cause),
            _ => Self::Reconciling(cause),
        }
    }

    pub(super) fn of_quota(findings: &StatusFindings, is_enforced: bool) -> Self {
        match Self::of_findings(findings) {
            Some(settlement) => settlement,
            None if is_enforced => Self::AsDesired,
            None => Self::Reconciling(Cause::new("Pending", "")),
        }
    }

    /// For data disks, networks, snapshots and references; `status` is the new one.
    pub(super) fn of_reference(findings: &StatusFindings, status: &ReferenceStatus) -> Self {
        if let Some(settlement) = Self::of_findings(findings) {
            return settlement;
        }
        let phase = status.phase.as_deref().unwrap_or("Pending");
        let ready = main_condition(&status.conditions);
        let is_ready = ready.is_some_and(|ready| ready.status == "True");
        // A reference that no host is asked about is not made anywhere.
        let is_unused = phase == "Unused" || !findings.is_made && findings.host.is_none();
        let message = ready.map(|ready| ready.message.as_str());
        let cause = Cause::new(phase, message.unwrap_or_default());
        match phase {
            "Blocked" | "Failed" | "Missing" | "Inactive" => Self::Stalled(cause),
            _ if is_ready || is_unused => Self::AsDesired,
            _ => Self::Reconciling(cause),
        }
    }

    fn conditions(&self) -> Vec<ResourceCondition> {
        let holds = |name, cause: &Cause| made(name, true, &cause.reason, &cause.message);
        let differs = |cause: &Cause| made("AsDesired", false, &cause.reason, &cause.message);
        match self {
            Self::AsDesired => vec![made("AsDesired", true, "AsDesired", "")],
            Self::Reconciling(cause) => vec![differs(cause), holds("Reconciling", cause)],
            Self::Stalled(cause) => vec![differs(cause), holds("Stalled", cause)],
            Self::Different(cause) => vec![differs(cause)],
        }
    }
}

/// The power state that the resource asks for; of a pool's member, the recorded one.
fn desired_power(findings: &StatusFindings, object: &VsiObject) -> String {
    let of_resource = findings.power.map(|power| match power {
        PowerState::Running => "Running",
        PowerState::Stopped => "Stopped",
        PowerState::Paused => "Paused",
    });
    let recorded = object.spec.get("powerState");
    let recorded = recorded.and_then(serde_json::Value::as_str);
    of_resource.or(recorded).unwrap_or("Running").to_owned()
}

/// Whether the template of a pool has its members off or suspended, and they are.
fn is_off_as_desired(pool: &PoolObject) -> bool {
    let power = pool.spec.pointer("/template/spec/powerState");
    let power = power.and_then(serde_json::Value::as_str);
    let count = pool
        .spec
        .get("replicas")
        .and_then(serde_json::Value::as_u64);
    let members = &pool.status.members;
    let is_desired = |phase: &str| {
        let mut members = members.iter();
        members.all(|member| member.updated && member.phase.as_str() == phase)
    };
    let has_all = u64::try_from(members.len()).ok() == count;
    has_all && power.is_some_and(|power| power != "Running" && is_desired(power))
}

/// The condition that users wait for.
fn main_condition(conditions: &[ResourceCondition]) -> Option<&ResourceCondition> {
    let mut conditions = conditions.iter();
    conditions.find(|one| ["Ready", "Available"].contains(&one.name.as_str()))
}

/// What completes the conditions of a report.
pub(super) struct FinishedReport<'a> {
    pub(super) findings: &'a StatusFindings,
    pub(super) settlement: Settlement,
    /// The conditions of the previous status.
    pub(super) before: &'a [ResourceCondition],
    pub(super) now: Timestamp,
}

impl FinishedReport<'_> {
    /// Adds the conditions of the settlement and completes all of them. A condition retains its transition
    /// time while its status is the same.
    pub(super) fn finish(&self, conditions: &mut Vec<ResourceCondition>) {
        let in_effect = self.generation_in_effect(conditions);
        conditions.extend(self.settlement.conditions());
        for condition in conditions {
            let mut before = self.before.iter();
            let same =
                before.find(|old| old.name == condition.name && old.status == condition.status);
            if let Some(old) = same {
                let since = &mut condition.last_transition_time;
                since.clone_from(&old.last_transition_time);
            }
            // A time in the future was written while a clock was ahead.
            let since = condition.last_transition_time.parse::<Timestamp>();
            if since.map_or(true, |at| at > self.now) {
                condition.last_transition_time = seconds(self.now);
            }
            let is_of_resource = OF_RESOURCE.contains(&condition.name.as_str());
            condition.observed_generation = if is_of_resource {
                Some(self.findings.generation)
            } else {
                in_effect
            };
        }
    }

    /// The generation that the main condition is about. While it holds for an earlier generation, it must
    /// not look as if the present one were in effect: `kubectl wait` compares the numbers.
    fn generation_in_effect(&self, conditions: &[ResourceCondition]) -> Option<i64> {
        let present = Some(self.findings.generation);
        if matches!(
            self.settlement,
            Settlement::AsDesired | Settlement::Different(_)
        ) {
            return present;
        }
        let holds = main_condition(conditions).is_some_and(|main| main.status == "True");
        let is_accepted = Settlement::of_findings(self.findings).is_none();
        let before = main_condition(self.before).and_then(|main| main.observed_generation);
        match (holds, is_accepted) {
            (false, true) => present,
            (false, false) => before,
            // No generation has the number 0.
            (true, _) => before.or(Some(0)),
        }
    }
}
