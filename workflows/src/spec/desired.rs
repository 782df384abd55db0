//! The desired state of one VSI, complete and without secrets.

use std::{collections::BTreeMap, net::Ipv4Addr};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use vsiflow_steps::ports::VolumeKey;
use vsiflow_steps::{
    guest::{GuestType, Probe, Seed},
    ports::{Firmware, Graphics},
    vsi::define_domain::Secure,
};

use super::disk_source::DataDiskSource;
use super::image::Checksum;
use super::network::DesiredNetwork;
use super::placement::DesiredPlacement;
use super::policy::{DeletionPolicy, OnDrift, PowerState, UpdatePolicy};
use super::pool::MemberOf;
use super::snapshot_policy::DesiredSnapshotPolicy;
use super::vsi::BootDiskMode;

/// The desired state of a VSI, as the user requested it. It is recorded, compared and shown, so it
/// holds no secret: the contract and the image's credentials are passed separately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredVsi {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID, if the document has one.
    #[serde(default)]
    pub uid: Option<Uuid>,
    /// The labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The ID of its host.
    pub host: String,
    /// The pool of its volumes.
    pub pool: String,
    /// The image it boots from.
    pub image: DesiredImage,
    /// How its boot disk is made.
    pub boot_disk: DesiredBootDisk,
    /// Its machine.
    pub machine: DesiredMachine,
    /// Its networks, one card each, in order. Never empty.
    pub networks: Vec<String>,
    /// The networks by the names of their documents. Not compared: only the networks themselves count.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub network_refs: BTreeMap<String, String>,
    /// The networks that vsiflow makes, by their names on the host. They are entities of their own, and
    /// not compared either.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made_networks: BTreeMap<String, DesiredNetwork>,
    /// The fixed addresses of its cards, by the names of their networks on the host.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub addresses: BTreeMap<String, Ipv4Addr>,
    /// Its data disks, in order.
    #[serde(default)]
    pub disks: Vec<DesiredDisk>,
    /// The guest's network configuration.
    #[serde(default)]
    pub network_config: Option<String>,
    /// The guest; `None` for the kind that is always a Hyper Protect guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<DesiredGuest>,
    /// When it counts as ready; the default of its kind if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<DesiredReady>,
    /// Whether it should run.
    #[serde(default)]
    pub power_state: PowerState,
    /// A restart request: usually a time. A new text restarts a running guest once; none, or the same
    /// text, does nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restarted_at: Option<String>,
    /// What happens on drift.
    #[serde(default)]
    pub on_drift: OnDrift,
    /// Whether changes wait for approval.
    #[serde(default)]
    pub update_policy: UpdatePolicy,
    /// What happens to it on its host when it is deleted.
    pub deletion_policy: DeletionPolicy,
    /// When snapshots of it are due, and how many are retained; `None` if it has no schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot_policy: Option<DesiredSnapshotPolicy>,
    /// The pool that made it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_of: Option<MemberOf>,
    /// How its host was chosen, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<DesiredPlacement>,
}

/// The image a VSI boots from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredImage {
    /// Its source, without credentials.
    #[serde(deserialize_with = "super::image::stored")]
    pub url: String,
    /// The last segment of the URL's path.
    pub file_name: String,
    /// The SHA-256 it must have.
    #[serde(default)]
    pub checksum: Option<Checksum>,
}

/// How a boot disk is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredBootDisk {
    /// Copy, overlay or ephemeral.
    pub mode: BootDiskMode,
    /// The size that the guest sees, in bytes; the image's own if absent.
    #[serde(default)]
    pub size: Option<u64>,
    /// The copy in a snapshot that it is first made from, instead of the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<VolumeKey>,
}

impl DesiredMachine {
    /// Keeps the memory of before if only the rounding differs: earlier versions rounded down, and a newer
    /// version alone restarts no guest.
    pub(crate) fn keep_rounding_of(&mut self, before: &Self) {
        let is_rounded = std::mem::take(&mut self.memory_is_rounded);
        if is_rounded && before.memory_mib.checked_add(1) == Some(self.memory_mib) {
            self.memory_mib = before.memory_mib;
        }
    }
}

/// The machine of a guest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredMachine {
    /// The architecture, as libvirt names it.
    pub arch: String,
    /// Virtual CPUs.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Whether the document named no whole number of MiB. It is not recorded.
    #[serde(skip)]
    pub memory_is_rounded: bool,
    /// The CPU model; one that fits the host if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<String>,
    /// The firmware; the default of the architecture if absent.
    #[serde(default, skip_serializing_if = "is_default")]
    pub firmware: Firmware,
    /// Whether the guest's memory is protected from the host.
    #[serde(default, skip_serializing_if = "is_default")]
    pub secure_execution: Secure,
    /// The screen.
    #[serde(default, skip_serializing_if = "Graphics::is_none")]
    pub graphics: Graphics,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The guest of a virtual server. Its contract or user-data is a secret, and is stored separately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredGuest {
    /// Its type.
    #[serde(rename = "type")]
    pub guest_type: GuestType,
    /// Its hostname; empty if it gets none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hostname: String,
    /// Public keys for its image's default user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ssh_keys: Vec<String>,
    /// The vendor-data of the image's provider.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor_data: Option<String>,
}

/// When a VSI counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredReady {
    /// Seconds that a boot may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within_s: Option<u64>,
    /// The probes that must all pass.
    #[serde(default, rename = "all", skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<Probe>,
}

/// A data disk of a VSI.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredDisk {
    /// The name of its document.
    pub name: String,
    /// The pool it is in.
    pub pool: String,
    /// Whether vsiflow makes it.
    pub source: DiskOrigin,
}

/// The origin of a data disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase")]
pub enum DiskOrigin {
    /// vsiflow makes it, and it has its own document.
    #[serde(rename_all = "camelCase")]
    Made {
        /// The UID, if the document has one.
        #[serde(default)]
        uid: Option<Uuid>,
        /// The size in bytes.
        size: u64,
        /// What happens to its volume when its document is deleted.
        deletion_policy: DeletionPolicy,
    },
    /// It exists already, and is never deleted.
    #[serde(rename_all = "camelCase")]
    Existing {
        /// The volume's name.
        volume: String,
    },
}

/// A data disk that vsiflow makes, whether a VSI uses it or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DesiredDataDisk {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID, if the document has one.
    #[serde(default)]
    pub uid: Option<Uuid>,
    /// The labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The ID of its host.
    pub host: String,
    /// The pool it is made in.
    pub pool: String,
    /// The size in bytes.
    pub size: u64,
    /// What happens to its volume when it is deleted.
    pub deletion_policy: DeletionPolicy,
    /// The pool member that it was made for, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub member_of: Option<MemberOf>,
    /// The volume that it is copied from: a copy in a snapshot, or another data disk; `None` if it is
    /// not a copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_of: Option<VolumeKey>,
    /// The source in its document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<DataDiskSource>,
}

/// One field that differs between two desired states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldChange {
    /// The field: `machine.cpus`, `disks[data1].source.size`, `networks`.
    pub path: String,
    /// The earlier value; absent if there was none.
    pub before: Option<Value>,
    /// The new value; absent if there is none any more.
    pub after: Option<Value>,
}

impl DesiredVsi {
    /// The type of its guest.
    pub fn guest_type(&self) -> GuestType {
        self.guest
            .as_ref()
            .map(|guest| guest.guest_type)
            .unwrap_or_default()
    }

    /// The kind of volume that gives its guest the configuration.
    pub fn seed(&self) -> Seed {
        self.guest_type().seed(&self.machine.arch)
    }

    /// The IDs of all hosts that it may be made on: its own, or the candidates.
    pub fn possible_hosts(&self) -> impl Iterator<Item = &str> {
        let candidates = self.placement.iter().flat_map(|one| &one.candidates);
        std::iter::once(&self.host)
            .chain(candidates)
            .map(String::as_str)
    }

    /// `namespace/name`, for people.
    pub fn full_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }

    /// The fields that differ in `newer`, by path. Lists of named objects are compared by name, with
    /// their order as a separate field (`disks`); other lists as a whole.
    pub fn changes(&self, newer: &Self) -> Vec<FieldChange> {
        let value = |vsi: &Self| {
            let mut compared = vsi.clone();
            compared.network_refs.clear();
            compared.placement = compared.placement.map(|one| one.compared());
            compared.made_networks.clear();
            serde_json::to_value(compared).unwrap_or_default()
        };
        let mut changes = Vec::new();
        compare("", &value(self), &value(newer), &mut changes);
        changes
    }
}

fn compare(path: &str, before: &Value, after: &Value, changes: &mut Vec<FieldChange>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let join = |key: &str| match path {
                "" => key.to_owned(),
                path => format!("{path}.{key}"),
            };
            let side = |map: &serde_json::Map<String, Value>| {
                map.iter()
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect()
            };
            compare_members(&side(old), &side(new), join, changes);
        }
        _ => match (by_name(before), by_name(after)) {
            (Some(old), Some(new)) => compare_lists(path, before, after, (&old, &new), changes),
            _ => changes.push(change(path, Some(before), Some(after))),
        },
    }
}

/// Members of an object, or elements of a list, by name.
type NamedValues = BTreeMap<String, Value>;

fn compare_members(
    old: &NamedValues,
    new: &NamedValues,
    join: impl Fn(&str) -> String,
    changes: &mut Vec<FieldChange>,
) {
    let added = new.keys().filter(|key| !old.contains_key(*key));
    let mut keys: Vec<&String> = old.keys().chain(added).collect();
    keys.sort();
    for key in keys {
        match (old.get(key), new.get(key)) {
            (Some(before), Some(after)) => compare(&join(key), before, after, changes),
            (before, after) => changes.push(change(&join(key), before, after)),
        }
    }
}

/// Compares elements by name; a change of order alone is a change of the list.
fn compare_lists(
    path: &str,
    before: &Value,
    after: &Value,
    (old, new): (&NamedValues, &NamedValues),
    changes: &mut Vec<FieldChange>,
) {
    let earlier = changes.len();
    compare_members(old, new, |name| format!("{path}[{name}]"), changes);
    if changes.len() == earlier {
        changes.push(change(path, Some(before), Some(after)));
    }
}

/// The elements of a list of objects by their names; `None` if one has no name, or two have the same.
fn by_name(list: &Value) -> Option<NamedValues> {
    let list = list.as_array()?;
    let named =
        |element: &Value| Some((element.get("name")?.as_str()?.to_owned(), element.clone()));
    let members: NamedValues = list.iter().map(named).collect::<Option<_>>()?;
    (members.len() == list.len()).then_some(members)
}

/// Makes a change; null counts as absent.
fn change(path: &str, before: Option<&Value>, after: Option<&Value>) -> FieldChange {
    let side = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
    FieldChange {
        path: path.to_owned(),
        before: side(before),
        after: side(after),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vsi() -> DesiredVsi {
        serde_json::from_value(json!({
            "namespace": "default", "name": "a", "host": "sim", "pool": "images",
            "image": {"url": "http://a/b.qcow2", "fileName": "b.qcow2"},
            "bootDisk": {"mode": "copy"},
            "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
            "networks": ["default"],
            "disks": [disk("d1", 1), disk("d2", 2)],
            "deletionPolicy": "Delete",
        }))
        .unwrap()
    }

    fn disk(name: &str, size: u64) -> Value {
        json!({"name": name, "pool": "images",
               "source": {"type": "made", "size": size, "deletionPolicy": "Retain"}})
    }

    fn paths(newer: &DesiredVsi) -> Vec<String> {
        vsi()
            .changes(newer)
            .into_iter()
            .map(|change| change.path)
            .collect()
    }

    #[test]
    fn equal_states_have_no_changes() {
        assert!(vsi().changes(&vsi()).is_empty());
        let text = serde_json::to_string(&vsi()).unwrap();
        assert_eq!(serde_json::from_str::<DesiredVsi>(&text).unwrap(), vsi());
    }

    #[test]
    fn changes_are_named_by_field() {
        let mut newer = vsi();
        newer.machine.cpus = 4;
        newer.networks = vec!["a".into(), "b".into()];
        newer.network_refs.insert("n".into(), "b".into());
        newer.network_config = Some("version: 2".into());
        newer.labels.insert("x".into(), "y".into());
        let changes = vsi().changes(&newer);
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        assert_eq!(
            paths,
            ["labels.x", "machine.cpus", "networkConfig", "networks"]
        );
        assert_eq!(changes[1].before, Some(json!(2)));
        assert_eq!(changes[2].before, None);
    }

    #[test]
    fn disks_are_compared_by_name() {
        let mut newer = vsi();
        newer.disks.remove(0);
        newer
            .disks
            .push(serde_json::from_value(disk("d3", 3)).unwrap());
        assert_eq!(paths(&newer), ["disks[d1]", "disks[d3]"]);
        let mut resized = vsi();
        resized.disks[1] = serde_json::from_value(disk("d2", 3)).unwrap();
        assert_eq!(paths(&resized), ["disks[d2].source.size"]);
        let mut reordered = vsi();
        reordered.disks.reverse();
        assert_eq!(paths(&reordered), ["disks"]);
    }
}
