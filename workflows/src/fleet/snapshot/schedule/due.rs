//! Takes the snapshot of a due time.

use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass, Name, Precedence, Text, Timestamp};

use super::{
    ScheduleNote, add, by,
    seen::{Scheduled, ScheduledSnapshot, SeenSchedules},
};
use crate::fleet::{
    Fleet, FleetError,
    index::Known,
    pool::is_passing,
    snapshot::{known::pending, names, take::SnapshotRequest},
    store::DesiredUpdates,
    vsi::object::rfc3339,
};
use crate::{
    phase::{ABANDONED, Phase},
    record::{
        DueTime, FailedDueTime, ScheduleRecord, SnapshotAction, scheduled_snapshot, snapshot_entity,
    },
    snapshot,
    spec::Schedule,
};

/// How many snapshots of schedules are made on a host at the same time; the others wait.
const PARALLEL: usize = 2;
/// How often a snapshot that cannot be taken is retried, until the next due time.
const RETRY_MS: u64 = 60_000;

impl Fleet {
    /// Takes a VSI's snapshot if one is due.
    pub(super) async fn run_schedule(
        &self,
        one: &Scheduled,
        seen: &mut SeenSchedules,
    ) -> Result<Option<ScheduleNote>, FleetError> {
        let now = self.clock.now();
        let text = one.policy.schedule.as_str();
        let known = seen.record(one.uid).cloned();
        let record = match known {
            Some(record) if record.schedule.as_deref() == Some(text) => record,
            before => {
                let record = begun(one, before, now);
                self.note_schedule(record, "the schedule begins").await?;
                return Ok(None);
            }
        };
        if let Some(ahead) = record.ahead_of(now) {
            return self.set_back(one, record, ahead).await.map(Some);
        }
        let newest = record.snapshot.and_then(|uid| seen.snapshot(uid));
        if let Some(stuck) = self.stuck_snapshot(&record, newest).await {
            return self.give_up_due(one, record, stuck).await.map(Some);
        }
        let Ok(schedule) = Schedule::recorded(text) else {
            // A later version of vsiflow recorded it, and can read its own schedules.
            return Ok(None);
        };
        let after = Timestamp(record.due_ms.unwrap_or(0).max(record.since_ms));
        let Some(due) = schedule.latest(after, now) else {
            return Ok(None);
        };
        let silent = matches!(self.reach.answers(&one.host), Some(Err(_)));
        if silent || seen.open_on(&one.host) >= PARALLEL {
            return Ok(None);
        }
        let failed_before = record.failed.as_ref();
        if failed_before.is_some_and(|failed| failed.due_ms == due.0)
            && !seen.tries(one.uid, now.0, RETRY_MS)
        {
            return Ok(None);
        }
        let missed = schedule.count(after, due);
        let taken = Box::pin(self.take_due_snapshot(one, &record, due, missed)).await?;
        if matches!(taken, Some(ScheduleNote::Begun { .. })) {
            seen.forget_tries(one.uid);
            seen.count_begun(&one.host);
        }
        Ok(taken)
    }

    /// Begins a schedule again whose recorded times are in the future, because the clock was set back.
    async fn set_back(
        &self,
        one: &Scheduled,
        record: ScheduleRecord,
        ahead: Timestamp,
    ) -> Result<ScheduleNote, FleetError> {
        let again = begun(one, Some(record), self.clock.now());
        let at = rfc3339(ahead);
        let why = format!("the clock was set back from {at} or later: the schedule begins again");
        self.note_schedule(again, &why).await?;
        let vsi = one.label();
        Ok(ScheduleNote::SetBack { vsi, at })
    }

    /// Ends the snapshots that nothing will take any more: their VSIs were deleted, or another change
    /// took their place before they were begun.
    pub(super) async fn end_abandoned(&self, seen: &SeenSchedules) -> Result<(), FleetError> {
        for snapshot in seen.abandoned() {
            let (failed, why) = (Name::of(Phase::Failed.as_str()), Text::new(ABANDONED));
            let noted = self
                .engine
                .note_state(snapshot, failed, why, by("not begun"));
            noted.await?;
        }
        Ok(())
    }

    /// Records one batch: the snapshot, its VSI's order, and that this due time is done.
    async fn take_due_snapshot(
        &self,
        one: &Scheduled,
        record: &ScheduleRecord,
        due: Timestamp,
        missed: u64,
    ) -> Result<Option<ScheduleNote>, FleetError> {
        let due_time = DueTime {
            ms: due.0,
            set_backs: record.set_backs,
        };
        let uid = scheduled_snapshot(one.uid, due_time);
        let done = ScheduleRecord {
            namespace: one.namespace.clone(),
            name: one.name.clone(),
            due_ms: Some(due.0),
            snapshot: Some(uid),
            missed: record.missed.saturating_add(missed),
            failed: None,
            ..record.clone()
        };
        let entity = snapshot_entity(uid).map_err(|e| FleetError::defect(e.to_string()))?;
        if self.engine.entity(&entity).is_some() {
            // The snapshot exists, although the schedule's record is older than it.
            self.note_schedule(done, "it was taken before").await?;
            return Ok(None);
        }
        let known = match self.find(&one.namespace, &one.uid.to_string(), false).await {
            Ok(known) => known,
            Err(error) => return self.not_taken(one, record, due, error).await,
        };
        if known.state.reached == 0 || !known.state.is_settled() {
            // The snapshot is taken after the current change is done.
            return Ok(None);
        }
        let request = SnapshotRequest {
            name: Some(self.free_name(one, uid, due).await?),
            uid: Some(uid),
            memory: false,
            quiesce: one.policy.quiesce && known.phase() != Phase::Stopped,
        };
        let (vsi, mut updates) = (one.uid.to_string(), DesiredUpdates::default());
        let taken = self.take(&one.namespace, &vsi, request, Some(due_time), &mut updates);
        let taken = match Box::pin(taken).await {
            Ok(taken) => taken,
            Err(error) => return self.not_taken(one, record, due, error).await,
        };
        add(&done, &mut updates)?;
        match self
            .record(updates, by(&format!("due at {}", rfc3339(due))))
            .await
        {
            Err(error) if !is_passing(&error.failure) => Err(error),
            // The VSI was changed at the same time.
            Err(_) => Ok(None),
            Ok(()) => Ok(Some(ScheduleNote::Begun {
                vsi: one.label(),
                snapshot: taken.name,
                missed,
            })),
        }
    }

    /// Records once for each due time why there is no snapshot.
    async fn not_taken(
        &self,
        one: &Scheduled,
        record: &ScheduleRecord,
        due: Timestamp,
        error: FleetError,
    ) -> Result<Option<ScheduleNote>, FleetError> {
        if is_passing(&error.failure) {
            return Ok(None);
        }
        let failed = FailedDueTime::of(due.0, &error.failure);
        if record.failed.as_ref() == Some(&failed) {
            return Ok(None);
        }
        let record = ScheduleRecord {
            failed: Some(failed),
            ..record.clone()
        };
        let why = format!("not taken: {}", error.failure);
        self.note_schedule(record, &why).await?;
        Ok(Some(ScheduleNote::Missing {
            vsi: one.label(),
            failure: error.failure,
        }))
    }

    /// The schedule's snapshot, if it is stuck and its VSI waits for it.
    async fn stuck_snapshot(
        &self,
        record: &ScheduleRecord,
        newest: Option<ScheduledSnapshot>,
    ) -> Option<ScheduledSnapshot> {
        let stuck = newest.filter(|one| ["Blocked", "Failed"].contains(&one.phase()))?;
        let vsi = record.vsi.to_string();
        let vsi = self.find(&record.namespace, &vsi, false).await.ok()?;
        waits_for(&vsi, record.snapshot?).then_some(stuck)
    }

    /// Deletes a stuck snapshot, so that its VSI continues without it: one batch, with the reason.
    async fn give_up_due(
        &self,
        one: &Scheduled,
        record: ScheduleRecord,
        stuck: ScheduledSnapshot,
    ) -> Result<ScheduleNote, FleetError> {
        let failure = self.obstacle(&stuck.entity).unwrap_or_else(|| {
            let detail = stuck
                .state
                .state
                .as_ref()
                .map(|(_, detail)| detail.to_string());
            Failure::new(FailureClass::Failed, "VSI0740", detail.unwrap_or_default())
                .of_object(format!("snapshot/{}", stuck.record.name))
        });
        let mut updates = DesiredUpdates::default();
        let known = self.find_snapshot(&record.namespace, stuck.entity.id(), false);
        let known = known.await?;
        self.give_up(&known, &mut updates).await?;
        let (entity, supreme) = (known.entity.clone(), Precedence::Supreme);
        updates.add(entity, snapshot::DELETE, supreme, &known.record, None)?;
        updates.order_deletion(known.state.objects.made.keys().cloned());
        let record = ScheduleRecord {
            failed: Some(FailedDueTime::of(stuck.due_ms, &failure)),
            missed: record.missed.saturating_add(1),
            snapshot: None,
            ..record
        };
        add(&record, &mut updates)?;
        self.record(updates, by(&format!("given up: {failure}")))
            .await?;
        Ok(ScheduleNote::Missing {
            vsi: one.label(),
            failure: Box::new(failure),
        })
    }

    /// The name from the VSI's name and the due time; from the UID if that name is in use.
    async fn free_name(
        &self,
        one: &Scheduled,
        uid: Uuid,
        due: Timestamp,
    ) -> Result<String, FleetError> {
        let name = names::scheduled(&one.name, uid, due);
        if self.snapshots().find(&one.namespace, &name).await.is_err() {
            return Ok(name);
        }
        Ok(names::of_uid(uid))
    }
}

impl FailedDueTime {
    fn of(due_ms: u64, failure: &Failure) -> Self {
        Self {
            due_ms,
            code: failure.code.to_string(),
            why: format!("{failure}. {}", failure.remedy),
        }
    }
}

fn waits_for(vsi: &Known, snapshot: Uuid) -> bool {
    let order = pending(vsi).map(|order| (order.snapshot(), &order.action));
    matches!(order, Some((of, SnapshotAction::Take { .. })) if of == snapshot)
}

/// The record of a schedule that begins. The last due time and snapshot of an earlier schedule are
/// copied, unless that time is in the future.
fn begun(one: &Scheduled, before: Option<ScheduleRecord>, now: Timestamp) -> ScheduleRecord {
    let is_set_back = before
        .as_ref()
        .is_some_and(|before| before.ahead_of(now).is_some());
    let left_until = before.as_ref().and_then(|before| before.left_until);
    let (due_ms, snapshot, set_backs) = before
        .map(|before| (before.due_ms, before.snapshot, before.set_backs))
        .unwrap_or_default();
    let due_ms = due_ms.filter(|due_ms| *due_ms <= now.0);
    ScheduleRecord {
        left_until,
        vsi: one.uid,
        namespace: one.namespace.clone(),
        name: one.name.clone(),
        schedule: Some(one.policy.schedule.clone()),
        since_ms: now.0,
        due_ms,
        snapshot,
        set_backs: set_backs.saturating_add(u64::from(is_set_back)),
        missed: 0,
        failed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_due_time_of_a_vsi_has_one_snapshot() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let due = |ms, set_backs| DueTime { ms, set_backs };
        let first = scheduled_snapshot(a, due(5, 0));
        assert_eq!(first, scheduled_snapshot(a, due(5, 0)));
        assert_ne!(first, scheduled_snapshot(a, due(6, 0)));
        assert_ne!(first, scheduled_snapshot(a, due(5, 1)), "it came again");
        assert_ne!(first, scheduled_snapshot(b, due(5, 0)));
    }
}
