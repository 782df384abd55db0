//! Choices that a document can make.

use serde::{Deserialize, Serialize};

/// Whether the VSI is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PowerState {
    /// It runs.
    #[default]
    Running,
    /// It is shut down; its disks stay.
    Stopped,
    /// It is suspended.
    Paused,
}

/// What is done when the host's objects differ from what was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum OnDrift {
    /// It is said, and nothing is changed.
    #[default]
    Report,
    /// What was written is restored.
    Restore,
}

/// Whether a change is carried out by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum UpdatePolicy {
    /// At once.
    #[default]
    Automatic,
    /// After its plan was approved.
    Manual,
}

/// What becomes of an object on its host when its document is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeletionPolicy {
    /// It is removed.
    Delete,
    /// It stays.
    Retain,
}

impl DeletionPolicy {
    /// A VSI can be made again from its document.
    pub(crate) fn of_vsis() -> Self {
        Self::Delete
    }

    /// A data disk's content cannot.
    pub(crate) fn of_disks() -> Self {
        Self::Retain
    }
}
