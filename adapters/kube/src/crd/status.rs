//! The schemas of the status that is written into resources.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use vsiflow_workflows::plan::Plan;

use super::validation;

/// What a VSI is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct VsiResourceStatus {
    /// 1 ready, 2 error, 0 anything else.
    #[serde(default)]
    pub status: i32,
    /// The end of the console, or what is wrong and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the operator before this one told beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::anything")]
    pub metadata: Option<OldMetadata>,
    /// The generation of this resource that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest generation of this resource that vsiflow recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_generation: Option<i64>,
    /// The state's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The step that is running, or that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_step: Option<String>,
    /// How far the run is: steps done of all, and the share of an upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// The guest's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<String>,
    /// The newest run; `vsiflow history` tells each of its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The change that waits for approval: what it takes, and the id by which it is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::anything")]
    pub proposal: Option<ProposedChange>,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The image, as it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The pool of its volumes, as it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_pool: Option<String>,
    /// The type of its guest, as it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<String>,
    /// The Lease of the process that serves this resource, as NAMESPACE/NAME, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// What is doubtful about the resource, its contract or its guest.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
}

/// A change that waits for approval.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProposedChange {
    /// Names this very change.
    pub id: String,
    /// What it takes.
    #[serde(flatten)]
    pub plan: Plan,
}

/// What the operator before this one told in `metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldMetadata {
    /// The end of the console.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub logs: String,
    /// The guest's addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipaddresses: Vec<String>,
    /// The domain's definition, as its host printed it last.
    #[serde(
        default,
        rename = "domainXML",
        skip_serializing_if = "String::is_empty"
    )]
    pub domain_xml: String,
}

/// What a data disk, or a reference to a disk or network, is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReferenceStatus {
    /// 1 ready, 2 error, 0 anything else.
    #[serde(default)]
    pub status: i32,
    /// What is wrong and what to do about it, or what it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the operator before this one told beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::anything")]
    pub metadata: Option<Map<String, Value>>,
    /// The generation of this resource that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The newest generation of this resource that vsiflow recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_generation: Option<i64>,
    /// The state's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// The host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The volume that a reference names, as of the generation that was accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// The network that a reference names, as of the generation that was accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_name: Option<String>,
    /// The addresses of a network, as of the generation that was accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<String>,
    /// The mode of a network, as of the generation that was accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The pool of a data disk's volume, as it is recorded or was accepted last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_pool: Option<String>,
    /// The VSI of a snapshot, as it is recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub virtual_server: Option<String>,
    /// The size of a data disk, or what the copies of a snapshot take, as documents write sizes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// The newest run, of a data disk or a snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_id: Option<String>,
    /// The VSIs that use it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
}

/// Something that holds, does not, or is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceCondition {
    /// Its name.
    #[serde(rename = "type")]
    pub name: String,
    /// True, False or Unknown.
    pub status: String,
    /// A word for machines.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Since when it has this status.
    #[schemars(extend("format" = "date-time"))]
    pub last_transition_time: String,
    /// The generation of the resource it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
