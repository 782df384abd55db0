//! Kind of references to existing networks.

use serde::{Deserialize, Serialize};

use super::selector::{self, LabelSelector};
use super::text;

/// The spec of kind `HyperProtectContainerRuntimeOnPremNetworkRef`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkRefSpec {
    /// The network's name on the host.
    #[serde(deserialize_with = "text::host_object")]
    pub network_name: String,
    /// Chooses the host settings.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
}
