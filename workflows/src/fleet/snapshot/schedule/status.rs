//! The status of a VSI's snapshot schedule.

use schemars::JsonSchema;
use serde::Serialize;
use vsiflow_engine::model::Timestamp;

use crate::fleet::{
    Condition, Fleet, FleetError,
    index::Known,
    snapshot::known::READY,
    unreadable::DesiredReading,
    vsi::{conditions::condition, object::rfc3339},
};
use crate::{
    phase::Phase,
    record::{ScheduleRecord, schedule_entity, snapshot_entity},
    spec::{Schedule, schedule::MAX_COUNTED},
};

/// The condition type: whether the newest due time has its snapshot.
const CURRENT: &str = "SnapshotsCurrent";
/// How long after its due time a snapshot counts as due, not overdue.
const SOON_MS: u64 = 60_000;

/// How far a VSI's schedule of snapshots is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotScheduleStatus {
    /// The newest due time for which a snapshot was begun, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_schedule_time: Option<String>,
    /// The next due time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_schedule_time: Option<String>,
    /// How many due times passed without a snapshot since the schedule began; 1000 where more.
    pub missed: u64,
}

/// The value of the condition.
struct ScheduleState {
    holds: bool,
    reason: String,
    message: String,
}

fn found(holds: bool, reason: &str, message: String) -> ScheduleState {
    let reason = reason.to_owned();
    ScheduleState {
        holds,
        reason,
        message,
    }
}

fn not_begun(changed: Timestamp) -> (SnapshotScheduleStatus, Condition) {
    let message = "the schedule begins once `vsiflow serve` has seen it";
    let status = SnapshotScheduleStatus {
        last_schedule_time: None,
        next_schedule_time: None,
        missed: 0,
    };
    let condition = condition(CURRENT, false, "NotBegun", message, changed);
    (status, condition)
}

fn set_back(ahead: Timestamp) -> ScheduleState {
    let at = rfc3339(ahead);
    let message = format!(
        "{at} is recorded for it, and is in the future: the clock was set back; the schedule begins again once \
         `vsiflow serve` has seen that"
    );
    found(false, "ClockSetBack", message)
}

impl Fleet {
    /// The status of a VSI's schedule, with its condition; `None` if the VSI has no schedule.
    pub(in crate::fleet) async fn schedule_of(
        &self,
        known: &Known,
    ) -> Result<Option<(SnapshotScheduleStatus, Condition)>, FleetError> {
        let Some(policy) = &known.record.vsi.snapshot_policy else {
            return Ok(None);
        };
        let entity = schedule_entity(known.record.uid);
        let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
        let state = self.engine.entity(&entity);
        let record: Option<ScheduleRecord> = match &state {
            Some(state) => match self.read_desired(&entity, state).await? {
                DesiredReading::Record(record) => Some(record),
                DesiredReading::Nothing | DesiredReading::Lost(_) => None,
            },
            None => None,
        };
        let record = record.filter(|one| one.schedule.as_deref() == Some(&policy.schedule));
        let (_, changed) = self.engine.times(&entity).unwrap_or_default();
        let schedule = Schedule::recorded(&policy.schedule).ok();
        let (Some(record), Some(schedule)) = (record, schedule) else {
            let (_, record_changed) = self.engine.times(&known.entity).unwrap_or_default();
            return Ok(Some(not_begun(record_changed)));
        };
        let now = self.clock.now();
        let ahead = record.ahead_of(now);
        let after = match ahead {
            Some(_) => now,
            None => Timestamp(record.due_ms.unwrap_or(0).max(record.since_ms)),
        };
        let due = schedule.latest(after, now);
        let passed = due.map_or(0, |due| schedule.count(after, due));
        let missed = record.missed.saturating_add(passed).min(MAX_COUNTED);
        let status = SnapshotScheduleStatus {
            last_schedule_time: record.due_ms.map(|ms| rfc3339(Timestamp(ms))),
            next_schedule_time: schedule.next(now.max(after)).map(rfc3339),
            missed,
        };
        let mut found = match ahead {
            Some(ahead) => set_back(ahead),
            None => self.judge(&record, due, now),
        };
        if missed > 0 {
            let so_far = format!("{missed} due times passed without a snapshot");
            found.message = [found.message, so_far].join("; ");
        }
        let ScheduleState {
            holds,
            reason,
            message,
        } = found;
        let condition = condition(CURRENT, holds, &reason, &message, changed);
        Ok(Some((status, condition)))
    }

    fn judge(
        &self,
        record: &ScheduleRecord,
        due: Option<Timestamp>,
        now: Timestamp,
    ) -> ScheduleState {
        let newest = due.map(|due| due.0).or(record.due_ms);
        if let Some(failed) = record.failed.as_ref().filter(|f| Some(f.due_ms) == newest) {
            let at = rfc3339(Timestamp(failed.due_ms));
            let message = format!("none was taken for {at}: {}", failed.why);
            return found(false, &failed.code, message);
        }
        if let Some(due) = due {
            let at = rfc3339(due);
            let late = now.0.saturating_sub(due.0) > SOON_MS;
            let message = format!("one is due since {at}");
            let reason = if late { "Overdue" } else { "Due" };
            return found(!late, reason, message);
        }
        let Some(at) = record.due_ms.map(|ms| rfc3339(Timestamp(ms))) else {
            return found(true, "Waiting", "none was due yet".to_owned());
        };
        match self.phase_of_snapshot(record).as_deref() {
            Some(READY) => found(true, "Taken", format!("the newest is that of {at}")),
            // A snapshot that was deleted later still counts as taken.
            Some("Deleting" | "Deleted") | None => {
                found(true, "Taken", format!("that of {at} was deleted"))
            }
            Some(phase) if phase == Phase::Failed.as_str() || phase == Phase::Blocked.as_str() => {
                found(false, phase, format!("that of {at} is {phase}"))
            }
            Some(_) => found(true, "Progressing", format!("that of {at} is being taken")),
        }
    }

    fn phase_of_snapshot(&self, record: &ScheduleRecord) -> Option<String> {
        let entity = snapshot_entity(record.snapshot?).ok()?;
        let state = self.engine.entity(&entity)?;
        let phase = state.state.as_ref();
        Some(phase.map_or(Phase::Pending.to_string(), |(name, _)| name.to_string()))
    }
}
