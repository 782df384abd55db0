//! Snapshots that are due: which VSIs have a schedule, what is done at a due time, and what goes then.
//!
//! A VSI's `snapshotPolicy` says when. How far it is stands in an entity of its own ([`ScheduleRecord`]), which is
//! recorded in one batch with the snapshot that was due, so that no crash takes two for one due time or loses one.
//! Of several due times that passed (this process did not run, the host did not answer, the guest was on) the newest is
//! made up for, and the others are counted as missed.
//!
//! What is never done here: to take a snapshot that `snapshot create` would refuse, to delete one that no schedule
//! took, or to delete any before a newer one of the same VSI is whole. What keeps a VSI from its snapshot
//! does not keep it from anything else: a snapshot that stands still is given up, and the schedule says why.

mod due;
mod prune;
mod seen;
mod status;

pub use status::SnapshotScheduleStatus;

use std::{convert::Infallible, time::Duration};

use tokio::time::{MissedTickBehavior, interval};
use vsiflow_engine::{
    executor::By,
    model::{Actor, Failure, Precedence, Text},
};

pub use self::seen::SeenSchedules;
use crate::fleet::{Fleet, FleetError, SnapshotHandle, store::DesiredUpdates};
use crate::record::{ScheduleRecord, kind, schedule_entity};

/// How often it is looked what is due.
const EVERY: Duration = Duration::from_secs(5);

/// What a look at the schedules came to.
#[derive(Clone, Debug, PartialEq)]
pub enum ScheduleNote {
    /// A snapshot was begun.
    Begun {
        /// The VSI, as people call it.
        vsi: String,
        /// The snapshot.
        snapshot: String,
        /// How many due times before were missed.
        missed: u64,
    },
    /// A snapshot that is due cannot be taken.
    Missing {
        /// The VSI, as people call it.
        vsi: String,
        /// Why.
        failure: Box<Failure>,
    },
    /// A snapshot goes, because newer ones are as many as are kept.
    Pruned {
        /// The snapshot.
        snapshot: String,
    },
    /// One that is to go stays for now.
    Stays {
        /// The snapshot.
        snapshot: String,
        /// Why.
        failure: Box<Failure>,
    },
}

impl SnapshotHandle<'_> {
    /// Takes the snapshots that are due and deletes those that are too many, as long as it is polled. Nothing
    /// of it is lost when it is dropped.
    pub async fn run_schedules(
        self,
        report: impl Fn(Result<Vec<ScheduleNote>, FleetError>),
    ) -> Infallible {
        let mut seen = SeenSchedules::default();
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            due.tick().await;
            report(Box::pin(self.apply_schedules(&mut seen)).await);
        }
    }

    /// Begins the snapshots that are due now, and the deletion of those that are too many. Nothing is begun
    /// while all is paused or the journal has no room. `seen` is what looks before found.
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
        for one in seen.scheduled() {
            notes.extend(Box::pin(self.fleet.run_schedule(&one, seen)).await?);
        }
        for record in seen.without_policy() {
            let ended = ScheduleRecord {
                schedule: None,
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

impl Fleet {
    async fn note_schedule(&self, record: ScheduleRecord, why: &str) -> Result<(), FleetError> {
        let mut updates = DesiredUpdates::default();
        add(&record, &mut updates)?;
        self.record(updates, by(why)).await
    }
}

/// Adds it to what is recorded.
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
