//! The custom resources of data disks: made disks, and references to existing volumes.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::spec::{DataDiskRefSpec, DataDiskSpec};

use super::{ReferenceStatus, structural::SpecOf};

/// A data disk that is made on a host.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hpse.ibm.com",
    version = "v1",
    kind = "HyperProtectContainerRuntimeOnPremDataDisk",
    root = "DataDisk",
    plural = "onprem-datadisks",
    singular = "onprem-datadisk",
    namespaced,
    status = "ReferenceStatus",
    shortname = "vsidisk",
    category = "vsiflow",
    doc = "A data disk that is made on a libvirt/KVM host, for a VSI that selects it.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.size"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".status.storagePool"),
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
pub struct DataDiskSpecSchema(SpecOf<DataDiskSpec>);

/// A volume that is on a host already.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "hpse.ibm.com",
    version = "v1",
    kind = "HyperProtectContainerRuntimeOnPremDataDiskRef",
    root = "DataDiskRef",
    plural = "onprem-datadiskrefs",
    singular = "onprem-datadiskref",
    namespaced,
    status = "ReferenceStatus",
    shortname = "vsidiskref",
    category = "vsiflow",
    doc = "A volume that is on a libvirt/KVM host already, for a VSI that selects it.",
    printcolumn(name = "Volume", type_ = "string", json_path = ".status.volumeName"),
    printcolumn(name = "Pool", type_ = "string", json_path = ".status.storagePool"),
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
pub struct DataDiskRefSpecSchema(SpecOf<DataDiskRefSpec>);
