//! The schema of placement: how a host is chosen for a virtual server.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Selector, validation};

/// How a host is chosen where targetSelector matches several. What is placed stays where it is.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PlacementSchema {
    /// Over what those that belong together are spread.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spread: Option<SpreadSchema>,
    /// Whether the fullest host that fits is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pack: Option<bool>,
    /// No host is chosen that has a server of this namespace with such labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anti_affinity: Option<Selector>,
    /// What a host must have free, or at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requires: Option<RequiresSchema>,
}

/// Over what servers are spread.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SpreadSchema {
    /// Over hosts, or over the values of a label of hosts.
    pub over: SpreadOverSchema,
    /// The label of hosts, where it is over a label.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// The servers of the namespace that count; where absent, the members of the same pool, and for a server of
    /// no pool all of the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub among: Option<Selector>,
}

/// Over hosts, or over the values of a label of hosts.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SpreadOverSchema {
    /// Over hosts.
    Host,
    /// Over the values of a label of hosts.
    Label,
}

/// What a host must have.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RequiresSchema {
    /// Free memory, where that is more than the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::bounded_quantity")]
    pub memory: Option<IntOrString>,
    /// Free processors, where that is more than the machine's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub cpus: Option<i32>,
    /// Free room in the storage pool, where that is more than the sizes of its disks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::bounded_quantity")]
    pub pool_room: Option<IntOrString>,
    /// A device that the host's settings name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_./-]{1,63}$"))]
    pub device: Option<String>,
}
