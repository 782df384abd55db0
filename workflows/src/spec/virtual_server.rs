//! Kind `VirtualServer`: a machine for a guest of any type.

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
use super::selector::{self, LabelSelector};
use super::snapshot_policy::SnapshotPolicySpec;
use super::text::{self, Contract};
use super::vsi::{self, BootDisk, Interface, Machine, VsiSpec};

/// The spec of kind `VirtualServer`. Fields that a Hyper Protect VSI also has have the same meaning.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VirtualServerSpec {
    /// The guest.
    #[serde(default)]
    pub guest: GuestSpec,
    /// The URL of the boot image.
    #[serde(rename = "imageURL")]
    pub image_url: ImageUrl,
    /// The SHA-256 the image must have.
    #[serde(default)]
    pub image_checksum: Option<Checksum>,
    /// The pool of its volumes.
    #[serde(default = "vsi::default_pool", deserialize_with = "text::host_object")]
    pub storage_pool: String,
    /// Chooses the host settings.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
    /// How a host is chosen if the target selector matches several.
    #[serde(default, deserialize_with = "placement::of_document")]
    pub placement: Option<PlacementSpec>,
    /// Chooses data disks.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub disk_selector: Option<LabelSelector>,
    /// Chooses networks.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub network_selector: Option<LabelSelector>,
    /// Its network cards, in order, instead of a selector.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// How the boot disk is made.
    #[serde(default)]
    pub boot_disk: BootDisk,
    /// The machine.
    #[serde(default)]
    pub machine: ServerMachine,
    /// When it counts as ready.
    #[serde(default)]
    pub ready: Option<ReadySpec>,
    /// Whether it should run.
    #[serde(default)]
    pub power_state: PowerState,
    /// What happens on drift.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Whether changes wait for approval.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// What happens to it on its host when it is deleted.
    #[serde(default = "DeletionPolicy::of_vsis")]
    pub deletion_policy: DeletionPolicy,
    /// When snapshots of it are due, and how many are retained.
    #[serde(default)]
    pub snapshot_policy: Option<SnapshotPolicySpec>,
    /// The recorded host, as it is printed.
    #[serde(default)]
    pub host: Option<String>,
    /// The recorded data disks, as they are printed.
    #[serde(default)]
    pub disks: Option<Vec<DesiredDisk>>,
    /// The recorded networks, as they are printed.
    #[serde(default)]
    pub networks: Option<Vec<String>>,
}

/// The machine of a virtual server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServerMachine {
    /// The architecture, as libvirt names it; by default `s390x` for a Hyper Protect guest and `x86_64`
    /// for others.
    #[serde(default, deserialize_with = "some_arch")]
    pub arch: Option<String>,
    /// Virtual CPUs; 2 by default.
    #[serde(default, deserialize_with = "some_cpus")]
    pub cpus: Option<u32>,
    /// Memory.
    #[serde(default)]
    pub memory: Memory,
    /// The CPU model: `host-model`, `host-passthrough`, `maximum`, or the name of a model.
    #[serde(default, deserialize_with = "cpu")]
    pub cpu: Option<String>,
    /// The firmware, if it is not the default of the architecture.
    #[serde(default)]
    pub firmware: Option<FirmwareChoice>,
    /// Whether the guest's memory is protected from the host.
    #[serde(default)]
    pub secure_execution: Secure,
    /// The screen, served by VNC on the loopback of its host; none if absent.
    #[serde(default)]
    pub graphics: Graphics,
}

/// The firmware that a document can choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FirmwareChoice {
    /// That of the architecture.
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
