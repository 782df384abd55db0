//! The custom resource of a Hyper Protect VSI.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::spec::VsiSpec;

use super::{VsiResourceStatus, structural::SpecOf};

/// What a virtual server instance is to be.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hpse.ibm.com",
    version = "v1",
    kind = "HyperProtectContainerRuntimeOnPrem",
    root = "Vsi",
    plural = "onprem-hpcrs",
    singular = "onprem-hpcr",
    namespaced,
    status = "VsiResourceStatus",
    shortname = "vsi",
    category = "vsiflow",
    doc = "A virtual server instance on a libvirt/KVM host, reached over SSH.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "IP", type_ = "string", json_path = ".status.ipAddresses[0]"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.currentStep"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.progress"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(
        name = "Image",
        type_ = "string",
        json_path = ".status.image",
        priority = 1
    ),
    printcolumn(
        name = "Pool",
        type_ = "string",
        json_path = ".status.storagePool",
        priority = 1
    ),
    printcolumn(
        name = "Run",
        type_ = "string",
        json_path = ".status.runId",
        priority = 1
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(transparent)]
pub struct VsiSpecSchema(SpecOf<VsiSpec>);
