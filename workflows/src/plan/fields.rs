//! How each field of a VSI is changed, and why so.

use serde_json::Value;

use vsiflow_steps::ports::VolumeKey;

use super::{Change, How};
use crate::{
    record::{PreviousInputs, VsiRecord},
    spec::FieldChange,
};

/// The fields in which `wanted` differs.
pub(super) fn changes(before: &PreviousInputs, wanted: &VsiRecord) -> Vec<Change> {
    let mut newer = wanted.vsi.clone();
    newer.uid = before.vsi.uid;
    // Whether it runs is decided by power commands as well.
    newer.power_state = before.vsi.power_state;
    let mut changes: Vec<_> = before
        .vsi
        .changes(&newer)
        .into_iter()
        .filter(|field| !is_derived(&field.path) && is_known(before, wanted, &field.path))
        .map(change)
        .collect();
    if wanted.contract != before.contract && !before.unknown.contains("contract") {
        changes.push(secret("contract", How::Rebuild, FRESH_GUEST));
    }
    let (from, to) = (before.power, wanted.power_state());
    let action = wanted.power.and_then(|power| power.action);
    if from != to || action.is_some() {
        changes.push(Change {
            path: "powerState".to_owned(),
            before: serde_json::to_value(from).ok(),
            after: serde_json::to_value(to).ok(),
            how: How::InPlace,
            why: "the guest is started, shut down or suspended".to_owned(),
        });
    }
    changes
}

pub(crate) const NEVER_SHRINKS: &str =
    "a data disk never shrinks: what lies at its end would be lost";
const FRESH_GUEST: &str = "a guest takes it in only as its boot disk is new";
const NEXT_START: &str = "a guest sees it from its next start on";
const TREATMENT: &str = "it says how vsiflow treats the VSI, not what the VSI is";
const COPY: &str = "the boot disk is a copy of the image";

/// A change of a secret; neither side is shown.
pub(super) fn secret(path: &str, how: How, why: &str) -> Change {
    Change {
        path: path.to_owned(),
        before: None,
        after: None,
        how,
        why: why.to_owned(),
    }
}

/// What somebody changed on the host is to be as it was written.
pub(super) fn restored() -> Change {
    let why = "somebody changed it on the host, and onDrift is Restore";
    secret(DEFINITION, How::InPlace, why)
}

/// The path of [`restored`].
pub(crate) const DEFINITION: &str = "definition";

/// Whether it can be told that a field differs: of what was adopted not all can.
fn is_known(before: &PreviousInputs, wanted: &VsiRecord, path: &str) -> bool {
    let head = path.split(['.', '[']).next().unwrap_or_default();
    match head {
        _ if !before.unknown.contains(head) => true,
        // Nobody can tell in which order they were meant to be.
        "disks" => sorted(before.volumes()) != sorted(wanted.volumes()),
        _ => false,
    }
}

fn sorted(mut volumes: Vec<VolumeKey>) -> Vec<VolumeKey> {
    volumes.sort();
    volumes
}

/// What follows from another field.
fn is_derived(path: &str) -> bool {
    path == "image.fileName"
}

fn change(field: FieldChange) -> Change {
    let (how, why) = how(&field);
    Change {
        path: as_documented(&field.path),
        before: field.before,
        after: field.after,
        how,
        why: why.to_owned(),
    }
}

fn how(field: &FieldChange) -> (How, &'static str) {
    let path = field.path.as_str();
    let head = path.split(['.', '[']).next().unwrap_or_default();
    match (head, path) {
        ("labels" | "onDrift" | "updatePolicy" | "deletionPolicy", _) => (How::Recorded, TREATMENT),
        ("restartedAt", _) => (How::Recorded, "a guest that runs is restarted once for it"),
        ("host", _) => (How::Refused, "a VSI stays on its host"),
        ("pool", _) => (How::Refused, "a VSI's volumes stay in their pool"),
        ("image", "image.checksum") if field.after.is_none() => (
            How::Recorded,
            "nothing is asked of the image any more that it was not held against",
        ),
        ("image", "image.checksum") => (How::Rebuild, "the image must be one of this checksum"),
        ("image", _) => (How::Rebuild, COPY),
        ("bootDisk", _) => (How::Rebuild, "the boot disk is made so from the beginning"),
        ("machine", "machine.arch") => (How::Rebuild, "another machine boots from another disk"),
        ("machine" | "networks", _) => (How::Restart, NEXT_START),
        ("networkConfig", _) => (How::Rebuild, FRESH_GUEST),
        ("disks", _) => disk(field),
        _ => (How::Rebuild, COPY),
    }
}

fn disk(field: &FieldChange) -> (How, &'static str) {
    let Some((_, part)) = field.path.split_once("].") else {
        return (How::Restart, NEXT_START);
    };
    let grows = field.before.as_ref().and_then(Value::as_u64)
        < field.after.as_ref().and_then(Value::as_u64);
    match part {
        "source.deletionPolicy" => (How::Recorded, TREATMENT),
        "source.size" if grows => (How::InPlace, "a disk grows while its guest runs"),
        "source.size" => (How::Refused, NEVER_SHRINKS),
        "source.uid" => (How::Refused, "it would be another disk"),
        "pool" => (How::Refused, "a data disk stays in its pool"),
        _ => (How::Restart, NEXT_START),
    }
}

/// A path of the desired state as documents write it.
fn as_documented(path: &str) -> String {
    match path {
        "image.url" => "imageURL".to_owned(),
        "image.checksum" => "imageChecksum".to_owned(),
        "pool" => "storagePool".to_owned(),
        "host" => "targetSelector".to_owned(),
        "machine.memoryMib" => "machine.memory".to_owned(),
        path => path.replace("].source.", "]."),
    }
}
