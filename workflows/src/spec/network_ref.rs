//! Kind of references to existing networks.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::selector::{self, LabelSelector};
use super::text;

/// The spec of kind `HyperProtectContainerRuntimeOnPremNetworkRef`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-previous-operator" = []))]
pub struct NetworkRefSpec {
    /// The network's name on the host.
    #[serde(deserialize_with = "text::host_object")]
    #[schemars(extend("x-example" = "default"))]
    pub network_name: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
}
