//! What was decided, as it goes through the database.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_workflows::fleet::{ChosenHost, ObjectUsage};

/// What was decided of a resource.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::shards) struct DecidedResource {
    pub(super) uid: Uuid,
    /// Where it is to be.
    pub(super) host: ChosenHost,
    /// What it may take.
    pub(super) admitted: Vec<ObjectUsage>,
}
