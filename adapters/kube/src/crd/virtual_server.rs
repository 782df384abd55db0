//! The custom resource of a virtual server with a guest of any type.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    InterfaceSchema, Selector, VsiResourceStatus,
    placement::PlacementSchema,
    validation,
    vsi::{
        DeletionPolicySchema, OnDriftSchema, PowerStateSchema, SnapshotPolicySchema,
        UpdatePolicySchema, default_pool,
    },
};

/// What a virtual server is to be.
#[derive(CustomResource, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "vsiflow.io",
    version = "v1",
    kind = "VirtualServer",
    plural = "virtualservers",
    singular = "virtualserver",
    namespaced,
    status = "VsiResourceStatus",
    shortname = "vs",
    category = "vsiflow",
    doc = "A virtual server on a libvirt/KVM host, reached over SSH, with a guest of any type.",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Host", type_ = "string", json_path = ".status.host"),
    printcolumn(name = "IP", type_ = "string", json_path = ".status.ipAddresses[0]"),
    printcolumn(name = "Guest", type_ = "string", json_path = ".status.guest"),
    printcolumn(name = "Step", type_ = "string", json_path = ".status.currentStep"),
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
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct VirtualServerSpecSchema {
    /// What runs in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestSchema>,
    /// Where the boot image comes from: `https://`, `http://`, `oci://`, `s3://`, `file:///`, or
    /// `upload://NAMESPACE/NAME` for a file that `kubectl vsi image upload` sends.
    #[serde(rename = "imageURL")]
    pub image_url: String,
    /// The SHA-256 the image must have: sha256: and 64 hexadecimal digits; of a packed image that of the one
    /// inside. Required with `upload://`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^sha256:[0-9a-fA-F]{64}$"))]
    pub image_checksum: Option<String>,
    /// The pool of its volumes.
    #[serde(default = "default_pool")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_selector: Option<Selector>,
    /// How a host is chosen where targetSelector matches several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<PlacementSchema>,
    /// Chooses data disks and references to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_selector: Option<Selector>,
    /// Chooses networks; without it the server is on the network default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_selector: Option<Selector>,
    /// Network cards in order, in place of networkSelector.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub interfaces: Vec<InterfaceSchema>,
    /// How the boot disk is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_disk: Option<ServerBootDisk>,
    /// The machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<ServerMachineSchema>,
    /// When it counts as ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<Ready>,
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
}

/// Does not print the user-data.
impl std::fmt::Debug for VirtualServerSpecSchema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VirtualServerSpec").finish_non_exhaustive()
    }
}

/// What runs in a virtual server.
#[derive(Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GuestSchema {
    /// How it is configured.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub guest_type: Option<GuestTypeSchema>,
    /// The contract of a Hyper Protect guest, verbatim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contract: Option<String>,
    /// What cloud-init or Ignition reads, verbatim; 16,384 bytes at most for cloud-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// The key of a Secret that has the user-data, instead of the text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data_from: Option<UserDataFromSchema>,
    /// The guest's network configuration, as cloud-init reads it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network_config: Option<String>,
    /// The guest's name for itself; the resource's name where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub hostname: Option<String>,
    /// Public keys for the image's default user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_keys: Option<Vec<String>>,
    /// What the provider of the image adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<String>,
}

/// How a guest is configured.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GuestTypeSchema {
    /// By cloud-init.
    CloudInit,
    /// By Ignition.
    Ignition,
    /// By the contract of a Hyper Protect guest.
    HyperProtect,
    /// Not at all.
    None,
}

/// Where user-data stands.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UserDataFromSchema {
    /// A key of a Secret in the same namespace.
    pub secret_key_ref: SecretKeyRefSchema,
}

/// A key of a Secret.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyRefSchema {
    /// The Secret's name.
    pub name: String,
    /// The key.
    pub key: String,
}

/// How the boot disk is made from the image.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerBootDisk {
    /// A full copy, a thin layer over the image, or one that lasts for one start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<ServerBootDiskMode>,
    /// The size the guest sees; the image's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "validation::bounded_quantity")]
    pub size: Option<IntOrString>,
}

/// A full copy, a thin layer over the image, or one that lasts for one start.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ServerBootDiskMode {
    /// A full copy, independent of the image.
    Copy,
    /// A thin layer: made at once, and needs the image as long as it lives.
    Overlay,
    /// A thin layer that is made anew for every start; what a guest wrote to it is lost when it stops.
    Ephemeral,
}

/// The machine of a guest.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServerMachineSchema {
    /// The architecture, as libvirt names it; s390x for a Hyper Protect guest and x86_64 for
    /// others where absent.
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
    /// The processor: host-model, host-passthrough, maximum, or the name of a model.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]+$"))]
    pub cpu: Option<String>,
    /// The firmware; what the architecture has by itself where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firmware: Option<FirmwareSchema>,
    /// Whether the guest's memory is protected from the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secure_execution: Option<SecureExecution>,
    /// The screen, which VNC shows on 127.0.0.1 of its host alone; there is none where absent. Not
    /// for a Hyper Protect guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graphics: Option<GraphicsSchema>,
}

/// The screen of a machine, which VNC shows on 127.0.0.1 of its host alone.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum GraphicsSchema {
    /// There is none.
    None,
    /// One that VNC shows, on 127.0.0.1 of its host.
    Vnc,
}

/// What a machine boots by.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FirmwareSchema {
    /// A PC's BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

/// Whether a guest's memory is protected from its host.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SecureExecution {
    /// Where the host offers it.
    Auto,
    /// Always; a host without it is refused.
    Required,
    /// Never.
    Off,
}

/// When a virtual server counts as ready.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Ready {
    /// How long a boot may take: 90s, 15m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<String>,
    /// What shows that it is ready, all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16))]
    pub all: Option<Vec<ProbeSchema>>,
}

/// One probe: one field of it is given.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProbeSchema {
    /// A regular expression that a line of the console matches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub console: Option<String>,
    /// The guest's agent answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<BTreeMap<String, String>>,
    /// cloud-init has ended without an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<BTreeMap<String, String>>,
    /// A TCP port that accepts connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub tcp: Option<i32>,
    /// An HTTP server that answers with a status from 200 to 399.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Http>,
    /// The guest has an address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<BTreeMap<String, String>>,
    /// The guest runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<BTreeMap<String, String>>,
}

/// An HTTP server.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// The port; 80 where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// The path; / where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}
