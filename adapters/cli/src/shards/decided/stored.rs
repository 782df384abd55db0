//! What was chosen, as it goes through the database.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_workflows::fleet::ChosenHost;

/// A host that was chosen for the VSI of a resource.
#[derive(Clone, Serialize, Deserialize)]
pub(in crate::shards) struct PlacedResource {
    pub(super) uid: Uuid,
    pub(super) chosen: ChosenHost,
}
