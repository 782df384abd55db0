//! The custom resource of a snapshot.

#![allow(unreachable_pub, reason = "the derived schema is a type of its own")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use super::ReferenceStatus;

/// A snapshot that is taken once.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "vsiflow.io",
    version = "v1",
    kind = "VirtualServerSnapshot",
    plural = "virtualserversnapshots",
    singular = "virtualserversnapshot",
    namespaced,
    status = "ReferenceStatus",
    shortname = "vssnap",
    category = "vsiflow",
    doc = "A snapshot of the disks of a VSI of the same namespace, taken once. Its copies go with it.",
    printcolumn(name = "VSI", type_ = "string", json_path = ".status.virtualServer"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServerSnapshotSpec {
    /// The VSI of the same namespace, of either kind.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self == oldSelf", "a snapshot is taken once"))]
    pub virtual_server: String,
    /// Whether the guest's agent holds its file systems still for that moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<bool>,
    /// Whether the guest's memory is saved, too; refused with the reason where that is not possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<bool>,
}
