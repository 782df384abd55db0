//! Policies that a document can choose.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whether the VSI should run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PowerState {
    /// It runs.
    #[default]
    Running,
    /// It is shut down; its disks remain.
    Stopped,
    /// It is suspended.
    Paused,
}

impl PowerState {
    /// Whether a guest is up in this state, suspended or not.
    pub(crate) fn is_up(self) -> bool {
        self != Self::Stopped
    }
}

/// What happens when the host's objects differ from what vsiflow wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum OnDrift {
    /// It is reported, and nothing is changed.
    #[default]
    Report,
    /// The written state is restored.
    Restore,
}

/// Whether a change is carried out automatically.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicy {
    /// Immediately.
    #[default]
    Automatic,
    /// After its plan is approved.
    Manual,
}

/// What happens to an object on its host when its document is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(extend("x-example" = "Retain"))]
pub enum DeletionPolicy {
    /// It is deleted.
    Delete,
    /// It remains.
    Retain,
}

impl DeletionPolicy {
    /// The default for VSIs, which can be made again from their documents.
    pub(crate) fn of_vsis() -> Self {
        Self::Delete
    }

    /// The default for data disks, whose content cannot be made again.
    pub(crate) fn of_disks() -> Self {
        Self::Retain
    }
}
