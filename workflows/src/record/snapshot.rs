//! Snapshots of VSIs as the journal has them, what is done for them once, and how far a schedule is.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_steps::{
    ports::VolumeKey,
    snapshot::{DiskCopy, SavedMemory, restore_disks::DiskToRestore},
};

use crate::spec::DesiredVsi;

/// What is done once with the disks of a VSI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotOrder {
    /// Names the command that asked for it.
    pub id: Uuid,
    /// What.
    pub action: SnapshotAction,
}

/// What is done with the disks of a VSI and a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SnapshotAction {
    /// The snapshot is taken.
    Take {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// The snapshot.
        record: Box<SnapshotRecord>,
    },
    /// The snapshot, which was being taken, is given up: what it left on the disks goes.
    Drop {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// The snapshot.
        record: Box<SnapshotRecord>,
    },
    /// The disks are put back as the snapshot has them.
    Restore {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// What people call it.
        name: String,
        /// The disks.
        disks: Vec<DiskToRestore>,
        /// The memory that its guest continues with; it boots where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        memory: Option<SavedMemory>,
    },
}

impl SnapshotOrder {
    /// The snapshot's UID.
    pub fn snapshot(&self) -> Uuid {
        match &self.action {
            SnapshotAction::Take { snapshot, .. }
            | SnapshotAction::Drop { snapshot, .. }
            | SnapshotAction::Restore { snapshot, .. } => *snapshot,
        }
    }

    /// What people call the snapshot.
    pub fn name(&self) -> &str {
        match &self.action {
            SnapshotAction::Take { record, .. } | SnapshotAction::Drop { record, .. } => {
                &record.name
            }
            SnapshotAction::Restore { name, .. } => name,
        }
    }
}

/// A snapshot as wanted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The namespace, that of its VSI.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID of the VSI.
    pub vsi: Uuid,
    /// What people call the VSI.
    pub vsi_name: String,
    /// The host's id.
    pub host: String,
    /// The disks, and their copies.
    pub disks: Vec<DiskCopy>,
    /// Whether the guest's agent holds its file systems still for the moment of the snapshot.
    #[serde(default)]
    pub quiesce: bool,
    /// Where the guest's memory is saved; none where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<VolumeKey>,
    /// Why the guest must be off; none where it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_because: Option<String>,
    /// What was asked of the VSI then, but for its secrets.
    pub inputs: DesiredVsi,
    /// When it was due, in milliseconds since the epoch; none of one that somebody asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
}

/// How far a VSI's schedule of snapshots is. No run follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The UID of the VSI.
    pub vsi: Uuid,
    /// The namespace of the VSI.
    pub namespace: String,
    /// What people call the VSI.
    pub name: String,
    /// The schedule; none where the VSI has none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When the schedule was first seen: what was due before is nobody's concern. Milliseconds since the
    /// epoch, as all times here.
    pub since_ms: u64,
    /// The newest due time for which a snapshot was begun.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// The UID of that snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Uuid>,
    /// How many due times passed without a snapshot since the schedule was first seen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// The newest due time for which none could be taken, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedDueTime>,
}

/// A due time without its snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDueTime {
    /// When it was due.
    pub due_ms: u64,
    /// The code of what stood in its way.
    pub code: String,
    /// The same in words, with the remedy.
    pub why: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
