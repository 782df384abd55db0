//! The custom resource of a network that vsiflow makes.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::spec::ServerNetworkSpec;

use super::{ReferenceStatus, structural::SpecOf};

/// A network that is made on each host where a server refers to it.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vsiflow.io",
    version = "v1",
    kind = "VirtualServerNetwork",
    plural = "virtualservernetworks",
    singular = "virtualservernetwork",
    namespaced,
    status = "ReferenceStatus",
    shortname = "vsn",
    category = "vsiflow",
    doc = "A network that is made on each libvirt/KVM host where a server refers to it.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "CIDR", type_ = "string", json_path = ".status.cidr"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".status.mode"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "Used-By", type_ = "string", json_path = ".status.usedBy[*]"),
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
pub struct VirtualServerNetworkSpec(SpecOf<ServerNetworkSpec>);
