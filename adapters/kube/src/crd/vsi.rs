//! The custom resource of a Hyper Protect VSI.

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{InterfaceSchema, Selector, VsiResourceStatus, validation, virtual_server::Ready};

/// What a virtual server instance is to be.
#[derive(CustomResource, Clone, Default, Serialize, Deserialize, JsonSchema)]
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
#[serde(rename_all = "camelCase")]
pub struct VsiSpecSchema {
    /// The contract, verbatim; encrypted for the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// Where the boot image comes from: `https://`, `http://`, `oci://`, `s3://`, `file:///`, or
    /// `upload://NAMESPACE/NAME` for a file that `kubectl vsi image upload` sends.
    #[serde(default, rename = "imageURL", skip_serializing_if = "Option::is_none")]
    pub image_url: Option<String>,
    /// The SHA-256 the image must have: sha256: and 64 hexadecimal digits; of a packed image that of the one
    /// inside. Required with `upload://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-fA-F]{64}$"))]
    pub image_checksum: Option<String>,
    /// The pool of the VSI's volumes.
    #[serde(default = "default_pool")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_selector: Option<Selector>,
    /// Chooses data disks and references to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_selector: Option<Selector>,
    /// Chooses networks; without it the VSI is on the network default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_selector: Option<Selector>,
    /// Network cards in order, in place of networkSelector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub interfaces: Vec<InterfaceSchema>,
    /// Ignored, as it always was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<Selector>,
    /// How the boot disk is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_disk: Option<BootDiskSchema>,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<MachineSchema>,
    /// Whether it is to run; where absent, it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_state: Option<PowerStateSchema>,
    /// What is done when somebody changed it on its host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_drift: Option<OnDriftSchema>,
    /// Whether changes wait until they are approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update_policy: Option<UpdatePolicySchema>,
    /// What becomes of it on its host when this resource is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicySchema>,
    /// When snapshots of it are due, and how many stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_policy: Option<SnapshotPolicySchema>,
    /// The guest's network configuration: netplan version 2, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_config: Option<String>,
    /// When it counts as ready, beyond what the guest says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
}

/// Does not print the contract.
impl std::fmt::Debug for VsiSpecSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VsiSpec").finish_non_exhaustive()
    }
}

/// How the boot disk is made from the image.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BootDiskSchema {
    /// A full copy, or a thin layer over the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<BootDiskModeSchema>,
    /// The size the guest sees; the image's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::bounded_quantity")]
    pub size: Option<IntOrString>,
}

/// A full copy, or a thin layer over the image.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BootDiskModeSchema {
    /// A full copy, independent of the image.
    Copy,
    /// A thin layer: made at once, and needs the image as long as it lives.
    Overlay,
}

/// The machine of a guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineSchema {
    /// The architecture, as libvirt names it; s390x where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9_]+$"))]
    pub arch: Option<String>,
    /// Virtual CPUs; 2 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub cpus: Option<i32>,
    /// Memory, rounded up to whole MiB: a plain number is MiB, a text without a unit is bytes; 4Gi where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::bounded_quantity")]
    pub memory: Option<IntOrString>,
}

/// Whether a VSI is to run.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum PowerStateSchema {
    /// It runs.
    Running,
    /// It is shut down; its disks stay.
    Stopped,
    /// It is suspended.
    Paused,
}

/// What is done when the host's objects differ from what was written.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum OnDriftSchema {
    /// It is said, and nothing is changed.
    Report,
    /// What was written is restored.
    Restore,
}

/// When snapshots of a VSI are due, and how many stay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SnapshotPolicySchema {
    /// Five fields as of cron, in UTC, such as `30 2 * * *`; or @hourly, @daily, @weekly, @monthly or @yearly. Due
    /// times are at least 15 minutes apart.
    #[schemars(length(max = 100))]
    pub schedule: String,
    /// How many stay, the newest.
    #[schemars(range(min = 1, max = 100))]
    pub keep: i32,
    /// Whether the guest's agent holds its file systems still for that moment, where the guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quiesce: Option<bool>,
}

/// Whether a change is carried out by itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum UpdatePolicySchema {
    /// At once.
    Automatic,
    /// After its plan was approved.
    Manual,
}

/// What becomes of an object on its host when its resource is deleted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicySchema {
    /// It is removed.
    Delete,
    /// It stays.
    Retain,
}

pub(super) fn default_pool() -> String {
    "images".to_owned()
}
