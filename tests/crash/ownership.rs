//! Whose an object on a host is by its name, and which steps may act on it.

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Name};
use vsiflow_steps::ports::VolumeKey;

use super::{
    documents,
    ports::{Call, Object},
};

/// The entity that something is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A VSI's boot disk.
    Boot(Uuid),
    /// Anything else of a VSI.
    Vsi(Uuid),
    /// A data disk.
    Disk,
    /// A base image.
    Image,
    /// A snapshot's copy of a disk, or its layer over one.
    Snapshot,
    /// A network that is made.
    Network,
    /// An address in one.
    Address,
    /// A guest: its own VSI ends it, or a snapshot that started it only to merge.
    Guest(Uuid),
}

impl Owner {
    pub fn may_be(self, id: &EntityId) -> bool {
        match self {
            Self::Boot(uuid) | Self::Vsi(uuid) => *id == entity(uuid),
            // A VSI puts its disks back.
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

enum Part {
    Boot,
    Cidata,
    Console,
}

fn part(key: &VolumeKey) -> Option<(Part, Uuid)> {
    let name = key.name.strip_suffix(".0").unwrap_or(&key.name);
    let (stem, _) = name.rsplit_once('.')?;
    let (part, uuid) = stem.split_once('-')?;
    let part = match part {
        "boot" => Part::Boot,
        "cidata" | "ignition" => Part::Cidata,
        "console" => Part::Console,
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
    key.name.parse::<Uuid>().is_ok()
}

/// Whether a volume is what is said beside a data disk that is filled.
fn is_beside_disk(key: &VolumeKey) -> bool {
    let name = key.name.strip_prefix('.');
    let name = name.and_then(|name| name.strip_suffix(".vsiflow"));
    name.is_some_and(|name| name.parse::<Uuid>().is_ok())
}

/// What is done with layers.
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

/// Whose an effect is, and the steps that may have it; `None` for one that changes nothing.
pub fn owner(call: &Call) -> Option<(Owner, &'static [&'static str])> {
    if call.name == "sync" {
        return None;
    }
    match &call.object {
        Object::Domain(_) if call.name == "grow_disk" => Some((Owner::Disk, &["grow_volume"])),
        Object::Domain(_) if LAYERS.contains(&call.name) => {
            Some((Owner::Snapshot, &["copy_disks", "merge_layers"]))
        }
        Object::Domain(uuid) if call.name == "destroy" => Some((
            Owner::Guest(*uuid),
            &["stop_domain", "copy_disks", "merge_layers"],
        )),
        Object::Domain(uuid) => Some((Owner::Vsi(*uuid), domain_steps(call.name))),
        Object::Volume(key) => Some(volume_owner(key, call.name)),
        Object::Network(_) => match call.name {
            "define_network" => Some((Owner::Network, &["define_network"])),
            "start_network" => Some((Owner::Network, &["start_network"])),
            "remove_network" => Some((Owner::Network, &["delete_network"])),
            "change_network" => Some((Owner::Address, &["reserve_addresses", "release_addresses"])),
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
        "set_mark" => &["adopt_domain"],
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

fn volume_owner(key: &VolumeKey, call: &str) -> (Owner, &'static [&'static str]) {
    match (part(key), call) {
        (Some((Part::Boot, uuid)), "delete") => (
            Owner::Boot(uuid),
            &["clone_boot_disk", "restore_disks", "delete_volumes"],
        ),
        (Some((Part::Boot, uuid)), _) => (Owner::Boot(uuid), &["clone_boot_disk", "restore_disks"]),
        (Some((Part::Cidata, uuid)), "delete") => {
            (Owner::Vsi(uuid), &["write_cidata", "delete_volumes"])
        }
        (Some((Part::Cidata, uuid)), _) => (Owner::Vsi(uuid), &["write_cidata"]),
        (Some((Part::Console, uuid)), "delete") => (Owner::Vsi(uuid), &["delete_volumes"]),
        (Some((Part::Console, uuid)), _) => (Owner::Vsi(uuid), &["create_console_log"]),
        (None, "resize") if is_disk(key) => (Owner::Disk, &["grow_volume", "restore_disks"]),
        (None, "delete") if is_beside_disk(key) => (Owner::Disk, &["delete_volume"]),
        (None, _) if is_beside_disk(key) => (Owner::Disk, FILLING),
        (None, "delete") if is_disk(key) => (
            Owner::Disk,
            &[
                "delete_volume",
                "restore_disks",
                "fill_volume",
                "fill_from_image",
            ],
        ),
        (None, "clone") if is_disk(key) => (
            Owner::Disk,
            &["restore_disks", "fill_volume", "fill_from_image"],
        ),
        (None, _) if is_disk(key) => (Owner::Disk, &["create_volume"]),
        (None, _) if is_copy(key) => (
            Owner::Snapshot,
            &["copy_disks", "merge_layers", "delete_volumes"],
        ),
        (None, _) => (Owner::Image, IMAGE_STEPS),
    }
}
