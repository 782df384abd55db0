//! The custom resources of data disks: made disks, and references to existing volumes.

#![allow(unreachable_pub, reason = "the derived schema is a type of its own")]

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ReferenceStatus, Selector, validation,
    vsi::{DeletionPolicySchema, default_pool},
};

/// A data disk that is made on a host.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, KubeSchema)]
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
#[serde(rename_all = "camelCase")]
pub struct DataDiskSpecSchema {
    /// The size in bytes, or with a unit such as 100Gi.
    #[serde(default = "default_size")]
    #[schemars(schema_with = "validation::quantity")]
    #[x_kube(validation = ("type(self) != int || type(oldSelf) != int || self >= oldSelf", "a data disk is never made smaller"))]
    pub size: IntOrString,
    /// The pool it is made in.
    #[serde(default = "default_pool")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_selector: Option<Selector>,
    /// Ignored, as it always was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// What becomes of it on its host when this resource is deleted; where absent, it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicySchema>,
    /// What it is filled with, once, when it is made; nothing where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DiskSourceSchema>,
}

/// What a data disk is filled with: exactly one of imageURL, snapshot, disk and blank.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DiskSourceSchema {
    /// An image, without password or query: `https://`, `oci://`, `s3://`, `file:///`, or
    /// `upload://NAMESPACE/NAME` for a file that `kubectl vsi image upload` sends.
    #[serde(default, rename = "imageURL", skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// The SHA-256 the image must have: `sha256:` and 64 hexadecimal digits. Required with `upload://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_checksum: Option<String>,
    /// A disk of a snapshot of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotDiskSchema>,
    /// Another data disk of the same namespace, as it is then. No guest that is on may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<String>,
    /// `true`: nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blank: Option<bool>,
}

/// A disk of a snapshot.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotDiskSchema {
    /// The snapshot.
    pub name: String,
    /// `boot`, or the name of a data disk.
    pub disk: String,
}

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
#[serde(rename_all = "camelCase")]
pub struct DataDiskRefSpecSchema {
    /// The volume's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub volume_name: Option<String>,
    /// The pool it is in.
    #[serde(default = "default_pool")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_selector: Option<Selector>,
}

/// 100 GiB.
fn default_size() -> IntOrString {
    IntOrString::String("100Gi".to_owned())
}
