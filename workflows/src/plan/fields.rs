//! How each field of a VSI is changed, and why.

use serde_json::Value;

use vsiflow_steps::{guest::GuestType, ports::VolumeKey};

use super::{How, PlannedChange, Touched};
use crate::{
    boot_disks::is_ephemeral,
    record::{PreviousInputs, SnapshotAction, SnapshotOrder, VsiRecord},
    restoration,
    spec::FieldChange,
};

/// The fields that differ in `record`.
pub(super) fn changes(
    before: &PreviousInputs,
    record: &VsiRecord,
    touched: &Touched,
) -> Vec<PlannedChange> {
    let mut newer = record.vsi.clone();
    newer.uid = before.vsi.uid;
    // The power state is compared separately, because power commands change it as well.
    newer.power_state = before.vsi.power_state;
    let mut changes: Vec<_> = before
        .vsi
        .changes(&newer)
        .into_iter()
        .filter(|field| !is_derived(&field.path) && is_known(before, record, &field.path))
        .map(change)
        .map(|change| of_guest(change, record))
        .map(|change| of_adopted(change, before))
        .collect();
    let guest = record.vsi.guest_type();
    for change in changes.iter_mut().filter(|change| configures(&change.path)) {
        (change.how, change.why) = configured(guest);
    }
    if record.contract != before.contract && !before.unknown.contains("contract") {
        let path = match record.vsi.guest {
            Some(_) if !guest.is_hyper_protect() => USER_DATA,
            Some(_) => "guest.contract",
            None => "contract",
        };
        let (how, why) = match guest {
            GuestType::HyperProtect => (How::Rebuild, FRESH_GUEST.to_owned()),
            guest => configured(guest),
        };
        changes.push(secret(path, how, &why));
    }
    if touched.is_rebuild_due(record) {
        let why = "requested with `vsiflow rebuild`";
        changes.push(secret("bootDisk", How::Rebuild, why));
    }
    let order = record.snapshot.as_ref();
    let is_due = |ordered: &&SnapshotOrder| match ordered.action {
        // A restoration destroys, so it is due as long as its order is open, and never again.
        SnapshotAction::Restore { .. } => restoration::is_due(record, &touched.objects),
        SnapshotAction::Take { .. } | SnapshotAction::Drop { .. } => {
            before.snapshot != Some(ordered.id)
        }
    };
    changes.extend(order.filter(is_due).map(of_order));
    let (from, to) = (before.power, record.power_state());
    let action = record.power.and_then(|power| power.action);
    if from != to || action.is_some() {
        changes.push(PlannedChange {
            path: POWER.to_owned(),
            before: serde_json::to_value(from).ok(),
            after: serde_json::to_value(to).ok(),
            how: How::InPlace,
            why: "the guest is started, shut down or suspended".to_owned(),
        });
    }
    changes
}

/// The path of the power state.
pub(crate) const POWER: &str = "powerState";
/// The path of a snapshot order.
pub(crate) const SNAPSHOT: &str = "snapshot";

fn of_order(order: &SnapshotOrder) -> PlannedChange {
    let (how, why) = match order.action {
        SnapshotAction::Take { .. } => (How::InPlace, "its disks are copied for a snapshot"),
        SnapshotAction::Drop { .. } => (How::InPlace, "a snapshot that was begun is given up"),
        SnapshotAction::Restore {
            memory: Some(_), ..
        } => (
            How::Restart,
            "its disks and its memory are restored from the snapshot; it continues where it was",
        ),
        SnapshotAction::Restore { .. } => (
            How::Restart,
            "its disks are put back as the snapshot has them; the guest boots from them",
        ),
    };
    PlannedChange {
        after: Some(order.name().into()),
        ..secret(SNAPSHOT, how, why)
    }
}

/// The fields that configure cloud-init or Ignition.
const CONFIGURATION: [&str; 5] = [
    USER_DATA,
    "guest.hostname",
    "guest.sshKeys",
    "guest.vendorData",
    "guest.networkConfig",
];
const USER_DATA: &str = "guest.userData";

/// Whether a field configures cloud-init or Ignition.
pub(super) fn configures(path: &str) -> bool {
    CONFIGURATION.contains(&path)
}

/// How a guest takes a changed configuration, and why.
fn configured(guest: GuestType) -> (How, String) {
    match guest {
        GuestType::CloudInit => (How::Restart, NEW_INSTANCE.to_owned()),
        GuestType::Ignition => (
            How::Rebuild,
            "Ignition runs at the first boot of a disk only".to_owned(),
        ),
        _ => (How::Rebuild, FRESH_GUEST.to_owned()),
    }
}

/// The change for a configuration that an earlier, unfinished run may have written; `None` for guests
/// that are rebuilt for that.
pub(super) fn configured_before(guest: GuestType) -> Option<PlannedChange> {
    let why = "an earlier change of it was begun and not finished";
    (guest == GuestType::CloudInit).then(|| secret(USER_DATA, How::Restart, why))
}

const NEW_INSTANCE: &str = "cloud-init runs it at the next start, under a new instance-id; what an earlier one made stays on the boot disk; `vsiflow rebuild` replaces that disk";

pub(crate) const NEVER_SHRINKS: &str =
    "a data disk never shrinks: the data at its end would be lost";
const FRESH_GUEST: &str = "a guest reads it only with a new boot disk";
/// The path of the boot disk's mode.
const BOOT_DISK_MODE: &str = "bootDisk.mode";
const ADOPTED_DISK: &str = "the boot disk that it was adopted with would be made anew at its next start: apply it with \
                            `mode: copy` first; a later change of the mode shows what it destroys";
const NEXT_START: &str = "a guest sees it from its next start on";
const TREATMENT: &str = "it says how vsiflow treats the VSI, not what the VSI is";
const COPY: &str = "the boot disk is a copy of the image";

/// A change of a secret; neither value is shown.
pub(super) fn secret(path: &str, how: How, why: &str) -> PlannedChange {
    PlannedChange {
        path: path.to_owned(),
        before: None,
        after: None,
        how,
        why: why.to_owned(),
    }
}

/// The change that writes the definition again after drift.
pub(super) fn restored() -> PlannedChange {
    let why = "it was changed on the host, and onDrift is Restore";
    secret(DEFINITION, How::InPlace, why)
}

/// The path of [`restored`].
pub(crate) const DEFINITION: &str = "definition";

/// Whether a field's earlier value is known; for an adopted VSI some are not.
fn is_known(before: &PreviousInputs, record: &VsiRecord, path: &str) -> bool {
    let head = path.split(['.', '[']).next().unwrap_or_default();
    match head {
        _ if !before.unknown.contains(head) => true,
        // The intended order is unknown, so only the set of volumes is compared.
        "disks" => sorted(before.volumes()) != sorted(record.volumes()),
        // Whatever was intended, the guest has written to the disk that it was adopted with.
        "bootDisk" => path == BOOT_DISK_MODE && is_ephemeral(&record.vsi),
        _ => false,
    }
}

/// A change of an adopted VSI by its first document, which changes nothing on the host.
fn of_adopted(change: PlannedChange, before: &PreviousInputs) -> PlannedChange {
    if change.path != BOOT_DISK_MODE || !before.unknown.contains("bootDisk") {
        return change;
    }
    PlannedChange {
        how: How::Refused,
        why: ADOPTED_DISK.to_owned(),
        ..change
    }
}

fn sorted(mut volumes: Vec<VolumeKey>) -> Vec<VolumeKey> {
    volumes.sort();
    volumes
}

/// Whether a field follows from another one.
fn is_derived(path: &str) -> bool {
    path == "image.fileName" || path.starts_with("bootDisk.copyOf")
}

fn change(field: FieldChange) -> PlannedChange {
    let (how, why) = how(&field);
    PlannedChange {
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
        (
            "labels" | "onDrift" | "updatePolicy" | "deletionPolicy" | "snapshotPolicy"
            | "memberOf" | "placement",
            _,
        ) => (How::Recorded, TREATMENT),
        ("restartedAt", _) => (How::Recorded, "a guest that runs is restarted once for it"),
        // With several candidates, the host is chosen only for VSIs that are made from now on.
        ("host", _) if field.after.as_ref().is_some_and(|to| to == "") => {
            (How::Recorded, "what is there stays on its host")
        }
        ("host", _) => (How::Refused, "a VSI stays on its host"),
        ("pool", _) => (How::Refused, "a VSI's volumes stay in their pool"),
        ("image", "image.checksum") if field.after.is_none() => {
            (How::Recorded, "the document no longer requires a checksum")
        }
        ("image", "image.checksum") => (How::Rebuild, "the image must be one of this checksum"),
        ("image", _) => (How::Rebuild, COPY),
        ("bootDisk", _) => (How::Rebuild, "the boot disk is made so from the beginning"),
        ("machine", "machine.arch") => (How::Rebuild, "another machine boots from another disk"),
        ("addresses", _) if field.before.is_some() && field.after.is_some() => {
            (How::Refused, "an address stays with its card")
        }
        ("machine" | "networks" | "addresses", _) => (How::Restart, NEXT_START),
        ("networkConfig", _) => (How::Rebuild, FRESH_GUEST),
        ("ready", _) => (How::Recorded, TREATMENT),
        ("guest", "guest" | "guest.type") => (How::Refused, "a guest stays of its type and kind"),
        ("guest", _) => (How::Restart, NEXT_START),
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

/// Names the network configuration of a virtual server as a field of its guest.
fn of_guest(mut change: PlannedChange, record: &VsiRecord) -> PlannedChange {
    if change.path == "networkConfig" && record.vsi.guest.is_some() {
        change.path = "guest.networkConfig".to_owned();
    }
    change
}

/// The path of a desired-state field, as documents write it.
fn as_documented(path: &str) -> String {
    match path {
        "image.url" => "imageURL".to_owned(),
        "image.checksum" => "imageChecksum".to_owned(),
        "pool" => "storagePool".to_owned(),
        "host" => "targetSelector".to_owned(),
        "ready.withinS" => "ready.within".to_owned(),
        "machine.memoryMib" => "machine.memory".to_owned(),
        path => path
            .replace("].source.", "].")
            .replace("placement.request", "placement"),
    }
}
