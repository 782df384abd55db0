//! Scheduled snapshots: finds the VSIs with a schedule, takes due snapshots, and deletes old ones.
//!
//! A VSI's `snapshotPolicy` says when. The progress of a schedule is an entity of its own
//! ([`ScheduleRecord`]). It is recorded in one batch with the due snapshot, so that no crash takes two
//! for one due time or loses one. If several due times have passed (this process did not run, the host
//! did not answer, the guest was on), a snapshot is taken for the newest, and the others count as
//! missed.
//!
//! This module never takes a snapshot that `snapshot create` would refuse. It never deletes one that no
//! schedule took, nor one that a removed policy or a restored journal left, nor any before a newer one of the same VSI is whole.
//! An obstacle to a snapshot does not block other changes of the VSI: a stuck snapshot is abandoned, and
//! the schedule says why.

mod due;
mod prune;
mod restored;
mod seen;
mod status;

pub use status::SnapshotScheduleStatus;

use std::{convert::Infallible, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use vsiflow_engine::{
    executor::By,
    model::{Actor, Failure, Precedence, Text, Timestamp},
};

pub use self::seen::SeenSchedules;
use crate::fleet::{AHEAD_MS, Fleet, FleetError, SnapshotHandle, store::DesiredUpdates};
use crate::record::{DueTime, ScheduleRecord, kind, schedule_entity};

/// How often schedules are checked.
const INTERVAL: Duration = Duration::from_secs(5);

/// What a check of the schedules did.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleNote {
    /// A snapshot was started.
    Begun {
        /// The VSI's label.
        vsi: String,
        /// The snapshot.
        snapshot: String,
        /// How many earlier due times were missed.
        missed: u64,
    },
    /// A snapshot that is due cannot be taken.
    Missing {
        /// The VSI's label.
        vsi: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// The schedule begins again: its recorded times were in the future, because the clock was set back.
    SetBack {
        /// The VSI's label.
        vsi: String,
        /// The newest recorded time, RFC 3339.
        at: String,
    },
    /// A snapshot is being deleted, because enough newer ones exist.
    Pruned {
        /// The snapshot.
        snapshot: String,
    },
    /// A snapshot that should be deleted remains for now.
    Stays {
        /// The snapshot.
        snapshot: String,
        /// Why.
        failure: Box<Failure>,
    },
}

impl SnapshotHandle<'_> {
    /// Takes due snapshots and deletes superfluous ones, as long as it is polled. Cancel safe.
    pub async fn run_schedules(
        self,
        report: impl Fn(Result<Vec<ScheduleNote>, FleetError>),
    ) -> Infallible {
        let mut seen = SeenSchedules::default();
        let mut due = interval(INTERVAL);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            report(Box::pin(self.apply_schedules(&mut seen)).await);
        }
    }

    /// Starts the due snapshots, and the deletion of superfluous ones. Does nothing while all work is
    /// paused or the journal is full. `seen` is a cache from earlier calls.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn apply_schedules(
        self,
        seen: &mut SeenSchedules,
    ) -> Result<Vec<ScheduleNote>, FleetError> {
        let mut notes = Vec::new();
        let rests = self.fleet.engine.observes_only() || self.fleet.engine.global_pause().is_some();
        if rests || self.fleet.engine.takes_updates().is_err() {
            return Ok(notes);
        }
        seen.refresh(self.fleet).await?;
        if self.fleet.leave_snapshots_of_before(seen).await? {
            seen.refresh(self.fleet).await?;
        }
        self.fleet.end_abandoned(seen).await?;
        for one in seen.scheduled() {
            notes.extend(Box::pin(self.fleet.run_schedule(&one, seen)).await?);
        }
        for record in seen.without_policy() {
            let ended = ScheduleRecord {
                schedule: None,
                left_until: record.left_until.max(Some(record.last_due())),
                ..record
            };
            self.fleet
                .note_schedule(ended, "the VSI has no schedule any more")
                .await?;
        }
        notes.extend(Box::pin(self.fleet.prune_scheduled(seen)).await?);
        Ok(notes)
    }
}

impl ScheduleRecord {
    /// The newest due time for which it began a snapshot.
    fn last_due(&self) -> DueTime {
        DueTime {
            set_backs: self.set_backs,
            ms: self.due_ms.unwrap_or(0),
        }
    }

    /// The newest of its times, if that is in the future: the clock was set back since.
    fn ahead_of(&self, now: Timestamp) -> Option<Timestamp> {
        let failed_ms = self.failed.as_ref().map(|failed| failed.due_ms);
        let newest_ms = self.due_ms.max(failed_ms).unwrap_or(0).max(self.since_ms);
        (newest_ms > now.0.saturating_add(AHEAD_MS)).then_some(Timestamp(newest_ms))
    }
}

impl Fleet {
    async fn note_schedule(&self, record: ScheduleRecord, why: &str) -> Result<(), FleetError> {
        let mut updates = DesiredUpdates::default();
        add(&record, &mut updates)?;
        self.record(updates, by(why)).await
    }
}

/// Adds a schedule's record to the updates.
fn add(record: &ScheduleRecord, updates: &mut DesiredUpdates) -> Result<(), FleetError> {
    let entity = schedule_entity(record.vsi).map_err(|e| FleetError::defect(e.to_string()))?;
    updates.add(entity, kind::SCHEDULE, Precedence::Record, record, None)
}

fn by(reason: &str) -> By {
    By {
        actor: Actor::Engine,
        reason: Text::new(format!("snapshotPolicy: {reason}")),
    }
}
