//! Kind `VirtualServer`: a machine for a guest of any type.

use schemars::JsonSchema;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use vsiflow_steps::{
    guest::GuestType,
    ports::{Firmware, Graphics},
    vsi::define_domain::Secure,
};

use super::desired::DesiredDisk;
use super::guest::GuestSpec;
use super::image::{Checksum, ImageUrl};
use super::placement::{self, PlacementSpec};
use super::policy::{DeletionPolicy, OnDrift, PowerState, UpdatePolicy};
use super::quantity::Memory;
use super::ready::ReadySpec;
use super::schema::Words;
use super::selector::{self, LabelSelector};
use super::snapshot_policy::SnapshotPolicySpec;
use super::text::{self, Contract};
use super::vsi::{self, BootDisk, Interface, Machine, VsiSpec};

/// The spec of kind `VirtualServer`. Fields that a Hyper Protect VSI also has have the same meaning.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualServerSpec {
    /// What runs in it.
    #[serde(default)]
    #[schemars(extend("x-example" = "{type: cloudInit, sshKeys: [\"ssh-ed25519 …\"]}"))]
    pub guest: GuestSpec,
    /// Where the boot image comes from: `https://`, `http://`, `oci://`, `s3://`, `file:///`, or
    /// `upload://NAMESPACE/NAME` for a file that `kubectl vsi image upload` sends.
    #[serde(rename = "imageURL")]
    pub image_url: ImageUrl,
    /// The SHA-256 the image must have: sha256: and 64 hexadecimal digits; of a packed image that of the one
    /// inside. Required with `upload://`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^sha256:[0-9a-fA-F]{64}$"))]
    pub image_checksum: Option<Checksum>,
    /// The pool of its volumes.
    #[serde(default = "vsi::default_pool", deserialize_with = "text::host_object")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
    /// How a host is chosen where targetSelector matches several.
    #[serde(default, deserialize_with = "placement::of_document")]
    #[schemars(extend("x-example" = "{spread: {over: host}}"))]
    pub placement: Option<PlacementSpec>,
    /// Chooses data disks and references to them.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub disk_selector: Option<LabelSelector>,
    /// Chooses networks; without it the server is on the network default.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub network_selector: Option<LabelSelector>,
    /// Network cards in order, in place of networkSelector.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-example" = "[{network: backend, addresses: [10.20.0.5]}]", "x-expected" = "a list of cards"))]
    pub interfaces: Vec<Interface>,
    /// How the boot disk is made.
    #[serde(default)]
    #[schemars(extend("x-example" = "{mode: copy, size: 100Gi}"))]
    pub boot_disk: BootDisk,
    /// The machine.
    #[serde(default)]
    #[schemars(extend("x-example" = "{cpus: 2, memory: 4Gi}"))]
    pub machine: ServerMachine,
    /// When it counts as ready.
    #[serde(default)]
    #[schemars(extend("x-example" = "{within: 15m, all: [{tcp: 22}]}"))]
    pub ready: Option<ReadySpec>,
    /// Whether a VSI is to run.
    #[serde(default)]
    pub power_state: PowerState,
    /// What is done when the host's objects differ from what was written.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Whether a change is carried out by itself.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// What becomes of an object on its host when its resource is deleted.
    #[serde(default = "DeletionPolicy::of_vsis")]
    pub deletion_policy: DeletionPolicy,
    /// When snapshots of it are due, and how many stay.
    #[serde(default)]
    #[schemars(extend("x-example" = "{schedule: \"30 2 * * *\", keep: 7}", "x-expected" = "an object with schedule and keep"))]
    pub snapshot_policy: Option<SnapshotPolicySpec>,
    /// The recorded host, as it is printed.
    #[serde(default)]
    #[schemars(skip)]
    pub host: Option<String>,
    /// The recorded data disks, as they are printed.
    #[serde(default)]
    #[schemars(skip)]
    pub disks: Option<Vec<DesiredDisk>>,
    /// The recorded networks, as they are printed.
    #[serde(default)]
    #[schemars(skip)]
    pub networks: Option<Vec<String>>,
}

/// The machine of a virtual server.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerMachine {
    /// The architecture, as libvirt names it; s390x for a Hyper Protect guest and x86_64 for
    /// others where absent.
    #[serde(default, deserialize_with = "some_arch")]
    #[schemars(regex(pattern = r"^[a-z0-9_]+$"), extend("x-example" = "s390x"))]
    pub arch: Option<String>,
    /// Virtual CPUs; 2 where absent.
    #[serde(default, deserialize_with = "some_cpus")]
    #[schemars(range(min = 1, max = vsi::MAX_CPUS), extend("x-example" = 2))]
    pub cpus: Option<u32>,
    /// Memory, rounded up to whole MiB: a plain number is MiB, a text without a unit is bytes; 4Gi where absent.
    #[serde(default)]
    pub memory: Memory,
    /// The processor: host-model, host-passthrough, maximum, or the name of a model.
    #[serde(default, deserialize_with = "cpu")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_.-]+$"), extend("x-example" = "host-model"))]
    pub cpu: Option<String>,
    /// What a machine boots by.
    #[serde(default)]
    #[schemars(extend("x-example" = "uefi"))]
    pub firmware: Option<FirmwareChoice>,
    /// Whether a guest's memory is protected from its host.
    #[serde(default)]
    #[schemars(with = "Words<Secure>")]
    pub secure_execution: Secure,
    /// The screen of a machine, which VNC shows on 127.0.0.1 of its host alone.
    #[serde(default)]
    #[schemars(with = "Words<Graphics>", extend("x-example" = "vnc"))]
    pub graphics: Graphics,
}

/// What a machine boots by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FirmwareChoice {
    /// That of the architecture, as objects are printed.
    #[schemars(skip)]
    Default,
    /// A PC's BIOS.
    Bios,
    /// UEFI.
    Uefi,
}

impl From<FirmwareChoice> for Firmware {
    fn from(choice: FirmwareChoice) -> Self {
        match choice {
            FirmwareChoice::Default => Self::default(),
            FirmwareChoice::Bios => Self::Bios,
            FirmwareChoice::Uefi => Self::Uefi,
        }
    }
}

fn some_arch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    vsi::arch(deserializer).map(Some)
}

fn some_cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    vsi::cpus(deserializer).map(Some)
}

/// The longest name of a CPU model, in bytes.
const CPU_MAX: usize = 64;

fn cpu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let cpu = String::deserialize(deserializer)?;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if cpu.is_empty() || cpu.len() > CPU_MAX || !cpu.bytes().all(plain) {
        return Err(D::Error::custom(
            "a processor is `host-model`, `host-passthrough`, `maximum`, or a model's name",
        ));
    }
    Ok(Some(cpu))
}

impl From<VirtualServerSpec> for VsiSpec {
    fn from(spec: VirtualServerSpec) -> Self {
        let hyper_protect = spec.guest.guest_type == Some(GuestType::HyperProtect);
        let arch = if hyper_protect { "s390x" } else { "x86_64" };
        let (machine, contract) = (spec.machine, spec.guest.contract.clone());
        Self {
            // The guest's input is read from `guest`, which may refer to another source.
            contract: contract.unwrap_or_else(|| Contract::new(String::new())),
            image_url: spec.image_url,
            image_checksum: spec.image_checksum,
            storage_pool: spec.storage_pool,
            target_selector: spec.target_selector,
            disk_selector: spec.disk_selector,
            network_selector: spec.network_selector,
            interfaces: spec.interfaces,
            boot_disk: spec.boot_disk,
            machine: Machine {
                arch: machine.arch.unwrap_or_else(|| arch.to_owned()),
                cpus: machine.cpus.unwrap_or_else(vsi::default_cpus),
                memory: machine.memory,
            },
            power_state: spec.power_state,
            on_drift: spec.on_drift,
            update_policy: spec.update_policy,
            deletion_policy: spec.deletion_policy,
            snapshot_policy: spec.snapshot_policy,
            network_config: None,
            host: spec.host,
            disks: spec.disks,
            networks: spec.networks,
            ready: spec.ready,
            guest: Some(spec.guest),
            placement: spec.placement,
            platform: vsi::GuestPlatform {
                cpu: machine.cpu,
                firmware: machine.firmware.map(Firmware::from).unwrap_or_default(),
                secure_execution: machine.secure_execution,
                graphics: machine.graphics,
            },
        }
    }
}
