//! The custom resource of a reference to an existing network.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::spec::NetworkRefSpec;

use super::{ReferenceStatus, structural::SpecOf};

/// A network that is on a host already.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hpse.ibm.com",
    version = "v1",
    kind = "HyperProtectContainerRuntimeOnPremNetworkRef",
    root = "NetworkRef",
    plural = "onprem-networkrefs",
    singular = "onprem-networkref",
    namespaced,
    status = "ReferenceStatus",
    shortname = "vsinet",
    category = "vsiflow",
    doc = "A network that is on a libvirt/KVM host already, for a VSI that selects it.",
    printcolumn(name = "Network", type_ = "string", json_path = ".status.networkName"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "Used-By", type_ = "string", json_path = ".status.usedBy[*]"),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct NetworkRefSpecSchema(SpecOf<NetworkRefSpec>);
