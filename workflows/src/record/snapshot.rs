//! The stored records of snapshots, snapshot orders of VSIs, and snapshot schedules.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_steps::{
    ports::VolumeKey,
    snapshot::{DiskCopy, SavedMemory, restore_disks::DiskToRestore},
};

use crate::spec::DesiredVsi;

/// A one-time action on the disks of a VSI.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotOrder {
    /// The ID of the command.
    pub id: Uuid,
    /// The action.
    pub action: SnapshotAction,
}

/// An action on the disks of a VSI and a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum SnapshotAction {
    /// Take the snapshot.
    Take {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// The snapshot.
        record: Box<SnapshotRecord>,
    },
    /// Abandon the snapshot that was being taken: remove its layers from the disks.
    Drop {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// The snapshot.
        record: Box<SnapshotRecord>,
    },
    /// Restore the disks from the snapshot.
    Restore {
        /// The snapshot's UID.
        snapshot: Uuid,
        /// The snapshot's name.
        name: String,
        /// The disks.
        disks: Vec<DiskToRestore>,
        /// The memory that its guest resumes with; without it, the guest boots.
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

    /// The snapshot's name.
    pub fn name(&self) -> &str {
        match &self.action {
            SnapshotAction::Take { record, .. } | SnapshotAction::Drop { record, .. } => {
                &record.name
            }
            SnapshotAction::Restore { name, .. } => name,
        }
    }
}

/// The desired state of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// The namespace, the same as its VSI's.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID of the VSI.
    pub vsi: Uuid,
    /// The name of the VSI.
    pub vsi_name: String,
    /// The host's id.
    pub host: String,
    /// The disks, and their copies.
    pub disks: Vec<DiskCopy>,
    /// Whether the guest agent freezes the file systems for the moment of the snapshot.
    #[serde(default)]
    pub quiesce: bool,
    /// Where the guest's memory is saved; `None` if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<VolumeKey>,
    /// Why the guest must be off; `None` if it may run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off_because: Option<String>,
    /// The desired state of the VSI then, without secrets.
    pub inputs: DesiredVsi,
    /// When it was due, in milliseconds since the epoch; `None` if a command asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// The schedule's [`ScheduleRecord::set_backs`] then.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set_backs: u64,
}

/// A due time of a schedule. When the clock is set back, due times come again and are others, which are later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DueTime {
    /// The schedule's [`ScheduleRecord::set_backs`].
    pub set_backs: u64,
    /// In milliseconds since the epoch.
    pub ms: u64,
}

/// The progress of a VSI's snapshot schedule. No run follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScheduleRecord {
    /// The UID of the VSI.
    pub vsi: Uuid,
    /// The namespace of the VSI.
    pub namespace: String,
    /// The name of the VSI.
    pub name: String,
    /// The schedule; `None` if the VSI has none any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// When the schedule was first seen: earlier due times do not count. Milliseconds since the epoch,
    /// as all times here.
    pub since_ms: u64,
    /// The newest due time for which a snapshot was started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_ms: Option<u64>,
    /// The UID of that snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<Uuid>,
    /// How often the clock was set back behind a time that was recorded here.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub set_backs: u64,
    /// The last due time of a policy that was removed: what was taken until then is left to the users.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_until: Option<DueTime>,
    /// How many due times passed without a snapshot since the schedule was first seen.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// The newest due time for which no snapshot could be taken, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<FailedDueTime>,
}

/// A due time without its snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDueTime {
    /// When it was due.
    pub due_ms: u64,
    /// The error code.
    pub code: String,
    /// The error text, with the remedy.
    pub why: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
