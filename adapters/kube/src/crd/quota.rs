//! The custom resource of a quota.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::spec::quota::QuotaSpec;

use super::{ResourceCondition, structural::SpecOf};

/// How much the VSIs of a namespace may take together.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vsiflow.io",
    version = "v1",
    kind = "VirtualServerQuota",
    plural = "virtualserverquotas",
    singular = "virtualserverquota",
    namespaced,
    status = "QuotaResourceStatus",
    shortname = "vsq",
    category = "vsiflow",
    doc = "How much the virtual servers of a namespace may take together.",
    printcolumn(name = "Used", type_ = "string", json_path = ".status.summary"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Within-Limits",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"WithinLimits\")].status",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct VirtualServerQuotaSpec(SpecOf<QuotaSpec>);

/// What is used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct QuotaResourceStatus {
    /// The generation of this resource that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The limits that hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hard: BTreeMap<String, String>,
    /// What is used of each.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub used: BTreeMap<String, String>,
    /// Both in one line, such as `cpus: 12/64, vsis: 3/20`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub summary: String,
    /// What is wrong, and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The Lease of the process that serves this resource, as NAMESPACE/NAME, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_by: Option<String>,
    /// What holds and what does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<ResourceCondition>,
}
