//! The custom resource of a group of members and pools in waves.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::spec::GroupSpec;

use super::{ResourceCondition, structural::SpecOf};

/// What a group is to be.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vsiflow.io",
    version = "v1",
    kind = "VirtualServerGroup",
    plural = "virtualservergroups",
    singular = "virtualservergroup",
    namespaced,
    status = "GroupResourceStatus",
    shortname = "vsg",
    category = "vsiflow",
    doc = "Members and pools of virtual servers that come up in waves, behind gates.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Wave", type_ = "string", json_path = ".status.wave"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(name = "Release", type_ = "string", json_path = ".status.release"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.message"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct VirtualServerGroupSpec(SpecOf<GroupSpec>);

/// What a group is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupResourceStatus {
    /// The generation of this resource that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The wave that is worked on, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<String>,
    /// How many members are ready, and how many are to be there, as 2/3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The images that templates share, by the ends of their names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What keeps it from being available, and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The waves, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waves: Vec<WaveStatus>,
    /// What is read of members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<OutputStatus>,
    /// The Lease of the process that serves this resource, as NAMESPACE/NAME, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// What is doubtful about the resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
}

/// What a wave is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WaveStatus {
    /// Its name.
    pub name: String,
    /// Whether its gate is open.
    #[serde(default)]
    pub open: bool,
    /// Its members and pools.
    #[serde(default)]
    pub items: Vec<ItemStatus>,
}

/// What a member or a pool of a wave is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ItemStatus {
    /// Its name within the group.
    pub name: String,
    /// The name of its pool: members are NAME-0 and so on.
    pub pool: String,
    /// The state's name.
    pub phase: String,
    /// Whether it is as the resource has it now.
    #[serde(default)]
    pub updated: bool,
    /// How many members are to be there.
    #[serde(default)]
    pub replicas: i32,
    /// How many members are ready, those of a surge included.
    #[serde(default)]
    pub ready: i32,
}

/// What is read of a member.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputStatus {
    /// Its name.
    pub name: String,
    /// Whether it was read.
    #[serde(default)]
    pub found: bool,
    /// What was read, where it is not a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}
