//! What the statuses of pools and groups have in common.

use k8s_openapi::jiff::Timestamp;
use uuid::Uuid;

use super::{
    FinishedReport, ReportedConditions, Settlement, accepted, hold_condition, made, refusal_event,
};
use crate::{
    crd::{GroupResourceStatus, PoolResourceStatus, ResourceCondition},
    events::EventNote,
    status_queue::{Hold, StatusFindings},
};

/// The fields that both have.
pub(super) struct CommonFields<'a> {
    observed_generation: &'a mut Option<i64>,
    phase: &'a mut Option<String>,
    message: &'a mut String,
    warnings: &'a mut Vec<String>,
    conditions: &'a mut Vec<ResourceCondition>,
}

/// The status of something that has members.
pub(super) trait MembersStatus: Clone + Default {
    fn common(&mut self) -> CommonFields<'_>;
}

macro_rules! members_status {
    ($($status:ty),*) => {$(
        impl MembersStatus for $status {
            fn common(&mut self) -> CommonFields<'_> {
                CommonFields {
                    observed_generation: &mut self.observed_generation,
                    phase: &mut self.phase,
                    message: &mut self.message,
                    warnings: &mut self.warnings,
                    conditions: &mut self.conditions,
                }
            }
        }
    )*};
}

members_status!(PoolResourceStatus, GroupResourceStatus);

/// The fleet's report of something with members.
pub(super) struct MembersReport<S> {
    pub(super) known: Option<S>,
    pub(super) settlement: Settlement,
}

/// The new status.
pub(super) fn status<S: MembersStatus>(
    findings: &StatusFindings,
    report: MembersReport<S>,
    before: &S,
    now: Timestamp,
) -> S {
    let MembersReport { known, settlement } = report;
    let mut earlier = before.clone();
    let conditions_before = std::mem::take(earlier.common().conditions);
    let (is_known, is_lost) = (known.is_some(), findings.hold == Some(Hold::JournalLost));
    // The previous status of its members shows that the journal is lost.
    let mut status = known.unwrap_or_else(|| if is_lost { earlier } else { pending() });
    let (refused, conditions) = refusals(findings);
    let common = status.common();
    if !is_known && !is_lost && refused.is_some() {
        *common.phase = Some("Blocked".to_owned());
    }
    if let Some(refused) = refused {
        *common.message = refused;
    }
    common.conditions.extend(conditions);
    common.warnings.clone_from(&findings.warnings);
    *common.observed_generation = Some(findings.generation);
    let finished = FinishedReport {
        findings,
        settlement,
        before: &conditions_before,
        now,
    };
    finished.finish(common.conditions);
    status
}

fn pending<S: MembersStatus>() -> S {
    let mut status = S::default();
    let common = status.common();
    *common.phase = Some("Pending".to_owned());
    common
        .conditions
        .push(made("Available", false, "Pending", ""));
    status
}

/// Converts a count; a pool has 1000 members at most.
pub(super) fn number(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A status as its Events need it.
pub(super) struct ReportedStatus<'a> {
    pub(super) phase: Option<&'a str>,
    pub(super) reported: ReportedConditions<'a>,
}

/// The Event of a refusal, or else of a change in the phase.
pub(super) fn event(
    uid: Uuid,
    before: &ReportedStatus<'_>,
    after: &ReportedStatus<'_>,
    message: &str,
) -> Option<EventNote> {
    let refused = refusal_event(uid, before.reported, after.reported);
    if refused.is_some() || before.phase == after.phase {
        return refused;
    }
    let phase = after.phase?;
    let is_warning = ["Degraded", "Blocked", "Failed", "Missing", "Inactive"].contains(&phase);
    let mut conditions = after.reported.conditions.iter();
    let since = conditions.next().map(|one| &*one.last_transition_time);
    let mark = format!("{phase} {message} {}", since.unwrap_or_default());
    Some(EventNote::became(uid, &mark, is_warning, phase, message))
}

/// Why a pool or a group is not served, as text, and its conditions.
fn refusals(findings: &StatusFindings) -> (Option<String>, Vec<ResourceCondition>) {
    let mut conditions = accepted(findings);
    let refused = conditions.iter().find(|one| one.status == "False");
    let mut message = refused.map(|one| one.message.clone());
    if let Some(hold) = &findings.hold {
        let (name, reason, why) = hold_condition(hold);
        let why = match hold {
            Hold::Removed => "it was deleted by a command, and its resource stayed: delete the \
                 resource"
                .to_owned(),
            _ => why,
        };
        conditions.push(made(name, true, reason, &why));
        message = Some(why);
    }
    (message, conditions)
}
