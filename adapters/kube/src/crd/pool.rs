//! The custom resource of a pool of virtual servers.

#![allow(unreachable_pub, reason = "the derived schema is a type of its own")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DataDiskSpecSchema, ProposedChange, ResourceCondition, VirtualServerSpecSchema, validation,
    vsi::UpdatePolicySchema,
};

/// What a pool is to be.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vsiflow.io",
    version = "v1",
    kind = "VirtualServerPool",
    plural = "virtualserverpools",
    singular = "virtualserverpool",
    namespaced,
    status = "PoolResourceStatus",
    shortname = "vsp",
    category = "vsiflow",
    doc = "Numbered virtual servers from one template.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredReplicas"
    ),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(
        name = "Updated",
        type_ = "integer",
        json_path = ".status.updatedReplicas"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.message",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServerPoolSpec {
    /// How many members there are, 0 to 1000; where absent, as many as before, and 1 at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// What each member is.
    pub template: TemplateSchema,
    /// Data disks that each member has of its own.
    #[serde(default)]
    pub disk_templates: Vec<DiskTemplateSchema>,
    /// How members are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySchema>,
    /// Whether a change of the template waits for approval, once for all members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_policy: Option<UpdatePolicySchema>,
}

/// What each member is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateSchema {
    /// Labels and annotations of members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Whether draining a host may make members elsewhere although what their boot and data disks hold is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evictable: Option<bool>,
    /// The spec of a VirtualServer. Texts of its guest may refer to pool.name, pool.index and pool.member.
    pub spec: VirtualServerSpecSchema,
}

/// Labels and annotations of members.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TemplateMetadata {
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
}

/// A data disk that each member has of its own.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskTemplateSchema {
    /// Its name and labels: the disk of member 2 of pool web is NAME-web-2.
    pub metadata: DiskTemplateMetadata,
    /// The spec of a data disk.
    pub spec: DataDiskSpecSchema,
}

/// The name of a disk template.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskTemplateMetadata {
    /// The name.
    pub name: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// How members are replaced.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StrategySchema {
    /// How many members may be away at the same time; 1 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_unavailable: Option<i32>,
    /// How many members more than replicas there may be during a rollout; not together with diskTemplates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub max_surge: Option<i32>,
    /// Members with a lower number keep the template before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub partition: Option<i32>,
}

/// What a pool is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolResourceStatus {
    /// The generation of this resource that all of this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The state's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// How many members there are, also of a surge, and being deleted.
    #[serde(default)]
    pub replicas: i32,
    /// How many there are to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired_replicas: Option<i32>,
    /// How many members are ready, those of a surge included.
    #[serde(default)]
    pub ready_replicas: i32,
    /// How many members have the current template and are not being deleted.
    #[serde(default)]
    pub updated_replicas: i32,
    /// Selects the members, for autoscalers.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// The revision of the template that members are brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// What keeps it from being available, and what to do about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// The change of the template that waits for approval: what it takes, and the id by which it is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::anything")]
    pub proposal: Option<ProposedChange>,
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
