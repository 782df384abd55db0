//! The custom resource of a snapshot.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::spec::snapshot::SnapshotSpec;

use super::{ReferenceStatus, structural::SpecOf};

/// A snapshot that is taken once.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
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
#[serde(transparent)]
pub struct VirtualServerSnapshotSpec(SpecOf<SnapshotSpec>);
