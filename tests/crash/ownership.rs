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
}

impl Owner {
    pub fn may_be(self, id: &EntityId) -> bool {
        match self {
            Self::Boot(uuid) | Self::Vsi(uuid) => *id == entity(uuid),
            Self::Disk => id.kind().as_str() == "disk",
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

/// The entity of the stories' pool.
pub fn pool() -> EntityId {
    EntityId::new(Name::of("pool"), documents::pool_uid().to_string()).unwrap()
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

/// Whose an effect is, and the steps that may have it; `None` for one that changes nothing.
pub fn owner(call: &Call) -> Option<(Owner, &'static [&'static str])> {
    if call.name == "sync" {
        return None;
    }
    match &call.object {
        Object::Domain(_) if call.name == "grow_disk" => Some((Owner::Disk, &["grow_volume"])),
        Object::Domain(uuid) => Some((Owner::Vsi(*uuid), domain_steps(call.name))),
        Object::Volume(key) => Some(volume_owner(key, call.name)),
        _ => None,
    }
}

fn domain_steps(call: &str) -> &'static [&'static str] {
    match call {
        "define" => &["define_domain"],
        "start" => &["start_domain"],
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

fn volume_owner(key: &VolumeKey, call: &str) -> (Owner, &'static [&'static str]) {
    match (part(key), call) {
        (Some((Part::Boot, uuid)), "delete") => {
            (Owner::Boot(uuid), &["clone_boot_disk", "delete_volumes"])
        }
        (Some((Part::Boot, uuid)), _) => (Owner::Boot(uuid), &["clone_boot_disk"]),
        (Some((Part::Cidata, uuid)), "delete") => {
            (Owner::Vsi(uuid), &["write_cidata", "delete_volumes"])
        }
        (Some((Part::Cidata, uuid)), _) => (Owner::Vsi(uuid), &["write_cidata"]),
        (Some((Part::Console, uuid)), "delete") => (Owner::Vsi(uuid), &["delete_volumes"]),
        (Some((Part::Console, uuid)), _) => (Owner::Vsi(uuid), &["create_console_log"]),
        (None, "resize") if is_disk(key) => (Owner::Disk, &["grow_volume"]),
        (None, "delete") if is_disk(key) => (Owner::Disk, &["delete_volume"]),
        (None, _) if is_disk(key) => (Owner::Disk, &["create_volume"]),
        (None, _) => (Owner::Image, IMAGE_STEPS),
    }
}
