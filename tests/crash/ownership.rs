//! Which entity an object on a host belongs to, by its name, and which steps may act on it.

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Name};
use vsiflow_steps::{names, ports::VolumeKey};

use super::{
    documents,
    ports::{CallObject, PortCall},
};

/// The entity that an object is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectOwner {
    /// A VSI's boot disk.
    Boot(Uuid),
    /// Any other object of a VSI.
    Vsi(Uuid),
    /// A data disk.
    Disk,
    /// A base image.
    Image,
    /// A snapshot's copy of a disk, or its layer over a disk.
    Snapshot,
    /// A network that vsiflow makes.
    Network,
    /// A reservation in such a network.
    Address,
    /// A guest's end: by its VSI, or by a snapshot that started it only to merge layers.
    Guest(Uuid),
}

impl ObjectOwner {
    pub fn may_be(self, id: &EntityId) -> bool {
        match self {
            Self::Boot(uuid) | Self::Vsi(uuid) => *id == entity(uuid),
            // A VSI restores its disks from a snapshot.
            Self::Disk => ["disk", "vsi"].contains(&id.kind().as_str()),
            Self::Snapshot => ["snapshot", "vsi"].contains(&id.kind().as_str()),
            Self::Guest(uuid) => *id == entity(uuid) || id.kind().as_str() == "snapshot",
            Self::Network => id.kind().as_str() == "network",
            Self::Address => id.kind().as_str() == "vsi",
            Self::Image => id.kind().as_str() == "image",
        }
    }
}

/// The entity of a VSI.
pub fn entity(uuid: Uuid) -> EntityId {
    EntityId::new(Name::of("vsi"), uuid.to_string()).unwrap()
}

/// The entity of a data disk.
pub fn disk(uuid: Uuid) -> EntityId {
    EntityId::new(Name::of("disk"), uuid.to_string()).unwrap()
}

/// The entity of a snapshot.
pub fn snapshot(uuid: Uuid) -> EntityId {
    EntityId::new(Name::of("snapshot"), uuid.to_string()).unwrap()
}

/// The entity of a network on a host.
pub fn network(host: &str, name: &str) -> EntityId {
    vsiflow_workflows::record::network_entity(host, name).unwrap()
}

/// The entity of the stories' pool.
pub fn pool() -> EntityId {
    EntityId::new(Name::of("pool"), documents::pool_uid().to_string()).unwrap()
}

/// The entity of the stories' group.
pub fn group() -> EntityId {
    EntityId::new(Name::of("group"), documents::group_uid().to_string()).unwrap()
}

enum VsiPart {
    Boot,
    Cidata,
    Console,
}

fn part(key: &VolumeKey) -> Option<(VsiPart, Uuid)> {
    if let Some(uuid) = names::vsi_of_boot_disk(&key.name) {
        return Some((VsiPart::Boot, uuid));
    }
    let name = key.name.strip_suffix(".0").unwrap_or(&key.name);
    let (stem, _) = name.rsplit_once('.')?;
    let (part, uuid) = stem.split_once('-')?;
    let part = match part {
        "cidata" | "ignition" => VsiPart::Cidata,
        "console" => VsiPart::Console,
        _ => return None,
    };
    Some((part, uuid.parse().ok()?))
}

/// The VSI that a volume is part of.
pub fn vsi_of(key: &VolumeKey) -> Option<Uuid> {
    part(key).map(|(_, uuid)| uuid)
}

/// Whether a volume is a data disk.
pub fn is_disk(key: &VolumeKey) -> bool {
    names::numbered_data_disk(&key.name).is_some()
}

/// Whether a volume is the mark beside a data disk that is filled.
fn is_beside_disk(key: &VolumeKey) -> bool {
    let name = key.name.strip_prefix('.');
    let name = name.and_then(|name| name.strip_suffix(".vsiflow"));
    name.is_some_and(|name| name.parse::<Uuid>().is_ok())
}

/// The calls on layers.
const LAYERS: [&str; 5] = [
    "add_layers",
    "save_with_layers",
    "begin_merge",
    "end_merge",
    "start_paused",
];

/// Whether a volume is a snapshot's copy of a disk.
fn is_copy(key: &VolumeKey) -> bool {
    key.name.starts_with("snapshot-")
}

/// The owner of an effect, and the steps that may cause it; `None` for a call that changes nothing.
pub fn owner(call: &PortCall) -> Option<(ObjectOwner, &'static [&'static str])> {
    if call.name == "sync" {
        return None;
    }
    match &call.object {
        CallObject::Domain(_) if call.name == "grow_disk" => {
            Some((ObjectOwner::Disk, &["grow_volume"]))
        }
        CallObject::Domain(_) if LAYERS.contains(&call.name) => {
            Some((ObjectOwner::Snapshot, &["copy_disks", "merge_layers"]))
        }
        CallObject::Domain(uuid) if call.name == "destroy" => Some((
            ObjectOwner::Guest(*uuid),
            &["stop_domain", "copy_disks", "merge_layers"],
        )),
        CallObject::Domain(uuid) if call.name == "set_mark" => {
            Some((ObjectOwner::Guest(*uuid), &["adopt_domain", "copy_disks"]))
        }
        CallObject::Domain(uuid) => Some((ObjectOwner::Vsi(*uuid), domain_steps(call.name))),
        CallObject::Volume(key) => Some(volume_owner(key, call.name)),
        CallObject::Network(_) => match call.name {
            "define_network" => Some((ObjectOwner::Network, &["define_network"])),
            "start_network" => Some((ObjectOwner::Network, &["start_network"])),
            "remove_network" => Some((ObjectOwner::Network, &["delete_network"])),
            "change_network" => Some((
                ObjectOwner::Address,
                &["reserve_addresses", "release_addresses"],
            )),
            _ => None,
        },
        _ => None,
    }
}

fn domain_steps(call: &str) -> &'static [&'static str] {
    match call {
        "define" => &["define_domain"],
        "start" | "start_saved" => &["start_domain"],
        "undefine" => &["undefine_domain"],
        "suspend" => &["suspend_domain"],
        "resume" => &["resume_domain"],
        "set_autostart" => &["set_autostart"],
        _ => &["stop_domain"],
    }
}

const IMAGE_STEPS: &[&str] = &[
    "claim",
    "upload_chunks",
    "verify_image",
    "mark_whole",
    "remove_image",
];

const FILLING: &[&str] = &["fill_volume", "fill_from_image"];

fn volume_owner(key: &VolumeKey, call: &str) -> (ObjectOwner, &'static [&'static str]) {
    match (part(key), call) {
        (Some((VsiPart::Boot, uuid)), "delete") => (
            ObjectOwner::Boot(uuid),
            &[
                "clone_boot_disk",
                "restore_disks",
                "delete_volumes",
                "remove_replaced_disks",
            ],
        ),
        (Some((VsiPart::Boot, uuid)), _) => (
            ObjectOwner::Boot(uuid),
            &["clone_boot_disk", "restore_disks"],
        ),
        (Some((VsiPart::Cidata, uuid)), "delete") => {
            (ObjectOwner::Vsi(uuid), &["write_cidata", "delete_volumes"])
        }
        (Some((VsiPart::Cidata, uuid)), _) => (ObjectOwner::Vsi(uuid), &["write_cidata"]),
        (Some((VsiPart::Console, uuid)), "delete") => (ObjectOwner::Vsi(uuid), &["delete_volumes"]),
        (Some((VsiPart::Console, uuid)), _) => (ObjectOwner::Vsi(uuid), &["create_console_log"]),
        (None, "resize") if is_disk(key) => (
            ObjectOwner::Disk,
            &["grow_volume", "restore_beside", "restore_disks"],
        ),
        (None, "delete") if is_beside_disk(key) => (ObjectOwner::Disk, &["delete_volume"]),
        (None, _) if is_beside_disk(key) => (ObjectOwner::Disk, FILLING),
        (None, "delete") if is_disk(key) => (
            ObjectOwner::Disk,
            &[
                "delete_volume",
                "remove_replaced_disks",
                "restore_beside",
                "restore_disks",
                "fill_volume",
                "fill_from_image",
            ],
        ),
        (None, "clone") if is_disk(key) => (
            ObjectOwner::Disk,
            &[
                "restore_beside",
                "restore_disks",
                "fill_volume",
                "fill_from_image",
            ],
        ),
        (None, _) if is_disk(key) => (ObjectOwner::Disk, &["create_volume"]),
        (None, _) if is_copy(key) => (
            ObjectOwner::Snapshot,
            &["copy_disks", "merge_layers", "delete_volumes"],
        ),
        (None, _) => (ObjectOwner::Image, IMAGE_STEPS),
    }
}
