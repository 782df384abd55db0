//! The VSI, as its document describes it.

use std::net::Ipv4Addr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

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
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VsiSpec {
    /// The contract, verbatim.
    pub contract: Contract,
    /// The URL of the boot image.
    #[serde(rename = "imageURL")]
    pub image_url: ImageUrl,
    /// The SHA-256 the image must have.
    #[serde(default)]
    pub image_checksum: Option<Checksum>,
    /// The pool of the VSI's volumes.
    #[serde(default = "default_pool", deserialize_with = "text::host_object")]
    pub storage_pool: String,
    /// Chooses the host settings. Optional only if a host is given in another way.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub target_selector: Option<LabelSelector>,
    /// Chooses data disks.
    #[serde(default, deserialize_with = "selector::of_document")]
    pub disk_selector: Option<LabelSelector>,
    /// Chooses networks; without it the VSI is on the network `default`.
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
    pub machine: Machine,
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
    /// The guest's network configuration: netplan version 2, as text.
    #[serde(default)]
    pub network_config: Option<String>,
    /// The recorded host, as it is printed.
    #[serde(default)]
    pub host: Option<String>,
    /// The recorded data disks, as they are printed.
    #[serde(default)]
    pub disks: Option<Vec<DesiredDisk>>,
    /// The recorded networks, as they are printed.
    #[serde(default)]
    pub networks: Option<Vec<String>>,
    /// When it counts as ready.
    #[serde(default)]
    pub ready: Option<ReadySpec>,
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Interface {
    /// The name of the network's document in the VSI's namespace.
    pub network: String,
    /// The addresses of the card; without any, it gets one of the network's.
    #[serde(default)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootDisk {
    /// Copy, overlay or ephemeral.
    #[serde(default)]
    pub mode: BootDiskMode,
    /// The size that the guest sees; the image's own if absent.
    #[serde(default, deserialize_with = "quantity::optional_disk_size")]
    pub size: Option<Quantity>,
}

/// How the boot disk is made from the image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

/// The machine of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Machine {
    /// The architecture, as libvirt names it.
    #[serde(default = "default_arch", deserialize_with = "arch")]
    pub arch: String,
    /// Virtual CPUs.
    #[serde(default = "default_cpus", deserialize_with = "cpus")]
    pub cpus: u32,
    /// Memory.
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
const MAX_CPUS: u32 = 4096;

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
    use serde_json::json;

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
