//! The VSI, as its document describes it.

use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;

use vsiflow_steps::{
    ports::{Firmware, Graphics},
    vsi::define_domain::Secure,
};

use super::desired::DesiredDisk;
use super::guest::GuestSpec;
use super::image::{Checksum, ImageUrl};
use super::placement::PlacementSpec;
use super::policy::{DeletionPolicy, OnDrift, PowerState, UpdatePolicy};
use super::quantity::{self, Memory, Quantity};
use super::ready::ReadySpec;
use super::selector::{self, LabelSelector};
use super::snapshot_policy::SnapshotPolicySpec;
use super::text::{self, Contract};

/// The spec of kind `HyperProtectContainerRuntimeOnPrem`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-previous-operator" = ["selector"]))]
pub struct VsiSpec {
    /// The contract, verbatim; encrypted for the image.
    pub contract: Contract,
    /// Where the boot image comes from: `https://`, `http://`, `oci://`, `s3://`, `file:///`, or
    /// `upload://NAMESPACE/NAME` for a file that `kubectl vsi image upload` sends.
    #[serde(rename = "imageURL")]
    pub image_url: ImageUrl,
    /// The SHA-256 the image must have: sha256: and 64 hexadecimal digits; of a packed image that of the one
    /// inside. Required with `upload://`.
    #[serde(default)]
    #[schemars(regex(pattern = r"^sha256:[0-9a-fA-F]{64}$"))]
    pub image_checksum: Option<Checksum>,
    /// The pool of the VSI's volumes.
    #[serde(default = "default_pool", deserialize_with = "text::host_object")]
    pub storage_pool: String,
    /// Chooses the ConfigMap and Secret with the host's settings.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
    /// Chooses data disks and references to them.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub disk_selector: Option<LabelSelector>,
    /// Chooses networks; without it the VSI is on the network default.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub network_selector: Option<LabelSelector>,
    /// Network cards in order, in place of networkSelector.
    #[serde(default)]
    #[schemars(length(max = 16), extend("x-example" = "[{network: backend, addresses: [10.20.0.5]}]", "x-expected" = "a list of cards"))]
    pub interfaces: Vec<Interface>,
    /// How the boot disk is made.
    #[serde(default)]
    #[schemars(schema_with = "lasting_boot_disk", extend("x-example" = "{mode: copy, size: 100Gi}"))]
    pub boot_disk: BootDisk,
    /// The machine.
    #[serde(default)]
    #[schemars(extend("x-example" = "{cpus: 2, memory: 4Gi}"))]
    pub machine: Machine,
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
    /// The guest's network configuration: netplan version 2, as text.
    #[serde(default)]
    #[schemars(extend("x-example" = "| with netplan version 2 below, indented", "x-secret" = true))]
    pub network_config: Option<String>,
    /// When it counts as ready, beyond what the guest says itself.
    #[serde(default)]
    #[schemars(extend("x-example" = "{within: 15m, all: [{tcp: 22}]}"))]
    pub ready: Option<ReadySpec>,
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
    /// The guest, if its kind permits a choice.
    #[serde(skip)]
    pub guest: Option<GuestSpec>,
    /// The properties of its machine that a Hyper Protect VSI does not have.
    #[serde(skip)]
    pub platform: GuestPlatform,
    /// How a host is chosen among several, if its kind permits it.
    #[serde(skip)]
    pub placement: Option<PlacementSpec>,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// The name of the network's resource in the same namespace.
    #[schemars(length(max = 253), extend("x-example" = "backend"))]
    pub network: String,
    /// The address that the card has; one of the network's own where there is none.
    #[serde(default)]
    #[schemars(with = "Vec<String>", length(max = 1), extend("x-example" = "[10.20.0.5]", "x-expected" = "a list of IPv4 addresses"))]
    pub addresses: Vec<Ipv4Addr>,
}

/// The properties of a machine that its kind leaves open.
#[derive(Clone, Debug, Default)]
pub struct GuestPlatform {
    /// The CPU model; one that fits the host if absent.
    pub cpu: Option<String>,
    /// The firmware.
    pub firmware: Firmware,
    /// Whether the guest's memory is protected from the host.
    pub secure_execution: Secure,
    /// The screen.
    pub graphics: Graphics,
}

/// How the boot disk is made from the image.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootDisk {
    /// A full copy, a thin layer over the image, or one that lasts for one start.
    #[serde(default)]
    pub mode: BootDiskMode,
    /// The size the guest sees; the image's own where absent.
    #[serde(default, deserialize_with = "quantity::optional_disk_size")]
    #[schemars(extend("x-example" = "100Gi"))]
    pub size: Option<Quantity>,
}

/// How the boot disk is made from the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum BootDiskMode {
    /// A full copy, independent of the image.
    #[default]
    Copy,
    /// A thin layer over the image: made immediately, but needs the image as long as it exists.
    Overlay,
    /// A thin layer that is made again for every start.
    Ephemeral,
}

/// The schema of a boot disk that is not ephemeral: a Hyper Protect VSI stores its data on it.
fn lasting_boot_disk(generator: &mut SchemaGenerator) -> Schema {
    let mut boot_disk = BootDisk::json_schema(generator);
    if let Some(mode) = boot_disk.pointer_mut("/properties/mode") {
        *mode = json!({
            "type": "string",
            "enum": [BootDiskMode::Copy, BootDiskMode::Overlay],
            "description": "A full copy, or a thin layer over the image.",
        });
    }
    boot_disk
}

/// The machine of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// The architecture, as libvirt names it; s390x where absent.
    #[serde(default = "default_arch", deserialize_with = "arch")]
    #[schemars(regex(pattern = r"^[a-z0-9_]+$"))]
    pub arch: String,
    /// Virtual CPUs; 2 where absent.
    #[serde(default = "default_cpus", deserialize_with = "cpus")]
    #[schemars(range(min = 1, max = MAX_CPUS))]
    pub cpus: u32,
    /// Memory, rounded up to whole MiB: a plain number is MiB, a text without a unit is bytes; 4Gi where absent.
    #[serde(default)]
    pub memory: Memory,
}

impl Default for Machine {
    fn default() -> Self {
        Self {
            arch: default_arch(),
            cpus: default_cpus(),
            memory: Memory::default(),
        }
    }
}

/// The default pool.
pub(crate) fn default_pool() -> String {
    "images".to_owned()
}

pub(super) fn default_arch() -> String {
    "s390x".to_owned()
}

pub(super) fn default_cpus() -> u32 {
    2
}

pub(super) fn arch<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let arch = String::deserialize(deserializer)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    if arch.is_empty() || !arch.bytes().all(plain) {
        return Err(D::Error::custom(
            "an architecture is a word such as s390x, x86_64 or ppc64le",
        ));
    }
    Ok(arch)
}

/// The most CPUs: more than any machine type of any architecture offers.
pub(super) const MAX_CPUS: u32 = 4096;

pub(super) fn cpus<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let cpus = u32::deserialize(deserializer)?;
    if (1..=MAX_CPUS).contains(&cpus) {
        return Ok(cpus);
    }
    Err(D::Error::custom(format_args!(
        "the number of CPUs is between 1 and {MAX_CPUS}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: serde_json::Value) -> Result<VsiSpec, serde_json::Error> {
        serde_json::from_value(value)
    }

    #[test]
    fn only_contract_and_image_are_needed() {
        let spec = parse(json!({"contract": "env: a", "imageURL": "http://a.example/b.qcow2"}));
        let spec = spec.unwrap();
        assert_eq!(spec.storage_pool, "images");
        assert_eq!(
            spec.machine,
            Machine {
                arch: "s390x".into(),
                cpus: 2,
                memory: Memory::default()
            }
        );
        assert_eq!(spec.machine.memory.mib(), 4096);
        assert_eq!(spec.deletion_policy, DeletionPolicy::Delete);
        assert!(spec.target_selector.is_none());
    }

    #[test]
    fn nothing_prints_the_contract() {
        let spec = parse(json!({"contract": "hyper-protect-basic.x", "imageURL": "http://a/b"}));
        let printed = format!("{:?}", spec.unwrap());
        assert!(printed.contains("<hidden>") && !printed.contains("hyper-protect"));
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let with = |key: &str, value: serde_json::Value| {
            let mut all = json!({"contract": "a", "imageURL": "http://a/b"});
            all[key] = value;
            parse(all).is_ok()
        };
        assert!(with(
            "machine",
            json!({"cpus": 4, "memory": "8Gi", "arch": "x86_64"})
        ));
        assert!(!with("machine", json!({"cpus": 0})));
        assert!(!with("machine", json!({"arch": "s390x;"})));
        assert!(!with("storagePool", json!("a/b")));
        assert!(!with("storagePool", json!("")));
        assert!(!with("contract", json!(" \n")));
        assert!(!with("imageUrl", json!("http://a/b")));
        assert!(with(
            "bootDisk",
            json!({"mode": "overlay", "size": "100Gi"})
        ));
        assert!(!with("bootDisk", json!({"mode": "Overlay"})));
    }
}
