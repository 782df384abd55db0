//! Decisions on custom resources as they are sent through the database.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_workflows::fleet::{ChosenHost, ObjectUsage};

/// The decision on a custom resource.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::shards) struct DecidedResource {
    pub(super) uid: Uuid,
    /// The chosen host.
    pub(super) host: ChosenHost,
    /// The quota usage that was admitted.
    pub(super) admitted: Vec<ObjectUsage>,
}
