//! The custom resource of a group of members and pools in waves.

#![allow(unreachable_pub, reason = "the derived schema is a type of its own")]

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ResourceCondition,
    pool::{DiskTemplateSchema, StrategySchema, TemplateSchema},
};

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
#[serde(rename_all = "camelCase")]
pub struct VirtualServerGroupSpec {
    /// Images that templates share, by name. A change goes through the waves, one pool after another.
    #[serde(default)]
    pub release: BTreeMap<String, ReleaseSchema>,
    /// The waves, in the order in which they come up.
    pub waves: Vec<Wave>,
    /// What is read of members, once, before the gate of their wave opens.
    #[serde(default)]
    pub outputs: Vec<OutputSchema>,
}

/// An image of a release.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseSchema {
    /// Where it comes from. It holds no credentials.
    pub image: String,
    /// The SHA-256 it must have: sha256: and 64 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checksum: Option<String>,
}

/// A wave.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wave {
    /// Its name.
    pub name: String,
    /// Single members: the virtual server is GROUP-NAME-0.
    #[serde(default)]
    pub members: Vec<MemberSchema>,
    /// Pools: the members are GROUP-NAME-0 and so on.
    #[serde(default)]
    pub pools: Vec<PoolSchema>,
    /// What opens the way to the next wave; that members are ready where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSchema>,
}

/// A single member.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberSchema {
    /// Its name.
    pub name: String,
    /// What it is. Texts of its guest may refer to the group and to earlier waves.
    pub template: TemplateSchema,
    /// Data disks of its own.
    #[serde(default)]
    pub disk_templates: Vec<DiskTemplateSchema>,
    /// The wave after whose gate it is deleted and never made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_after: Option<String>,
}

/// A pool of members.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolSchema {
    /// Its name.
    pub name: String,
    /// How many members there are, 0 to 1000; where absent, as many as before, and 1 at first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
    /// What each member is. Texts of its guest may refer to the group and to earlier waves.
    pub template: TemplateSchema,
    /// Data disks that each member has of its own.
    #[serde(default)]
    pub disk_templates: Vec<DiskTemplateSchema>,
    /// How members are replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strategy: Option<StrategySchema>,
    /// The wave after whose gate it is deleted and never made again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_after: Option<String>,
}

/// What opens the way to the next wave.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateSchema {
    /// Who has to show it: all members where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub members: Option<QuorumSchema>,
    /// What members show beside being ready, all of it.
    #[serde(default)]
    #[schemars(length(max = 16))]
    pub probes: Vec<GateProbeSchema>,
}

/// Who has to show what a gate asks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum QuorumSchema {
    /// Every member.
    All,
    /// One of them.
    Any,
}

/// One probe of a gate: one field of it is given.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateProbeSchema {
    /// The member is ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<EmptySchema>,
    /// A regular expression that a line of the console matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
    /// The agent of the guest answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<EmptySchema>,
    /// A TCP port that accepts connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub tcp: Option<i32>,
    /// An HTTP server that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpProbe>,
    /// A program that the agent of the guest runs, and that ends with 0. It may run many times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_command: Option<AgentCommandSchema>,
}

/// A probe without settings.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EmptySchema {}

/// An HTTP server.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HttpProbe {
    /// The port; 80 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The path; / where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A program that the agent of a guest runs.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentCommandSchema {
    /// The program, as an absolute path.
    pub path: String,
    /// Its arguments.
    #[serde(default)]
    pub args: Vec<String>,
}

/// Something that is read of a member: one of file and console is given.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OutputSchema {
    /// Its name.
    pub name: String,
    /// The member, as NAME-0.
    pub member: String,
    /// A file that the agent of the guest reads; 64 KiB at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// A regular expression that a line of the console matches; its first group is what is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub console: Option<String>,
    /// Whether it is kept as a secret; true where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<bool>,
}

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
