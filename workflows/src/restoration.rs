//! What is left to do of the restoration of a VSI's disks from a snapshot.
//!
//! The disks are made beside the present ones, under names that none had before, while the guest runs, and one
//! definition switches to all of them: no boot disk of one moment meets data of another. Until then a failure, a
//! cancellation or a crash loses nothing. They are made in the place of the present ones only where that is ordered,
//! where memory is restored with them, because saved memory names the files of its disks, where a disk has not the name
//! of a disk of this journal, or where one is half replaced already. Nothing here destroys; it only says what is to be
//! made, and where.

use vsiflow_engine::model::{Objects, Text};
use vsiflow_steps::{guards, names, ports::VolumeKey, snapshot::restore_disks::DiskToRestore};

use crate::{
    acts,
    boot_disks::BootDisks,
    record::{SnapshotAction, VsiRecord},
};

/// The disks that the record's restoration replaces, without those that the definition names no more.
pub(crate) fn disks<'a>(
    record: &'a VsiRecord,
    objects: &'a Objects,
) -> impl Iterator<Item = &'a DiskToRestore> {
    let boot_disks = BootDisks::of(record, objects);
    all_disks(record).iter().filter(move |disk| {
        let volume = &disk.of.volume;
        !boot_disks.is_given_up(volume) && !is_data_disk_given_up(volume, objects)
    })
}

fn all_disks(record: &VsiRecord) -> &[DiskToRestore] {
    let action = record.snapshot.as_ref().map(|order| &order.action);
    match action {
        Some(SnapshotAction::Restore { disks, .. }) => disks,
        _ => &[],
    }
}

/// Whether the VSI was switched to a newer volume of the same data disk.
fn is_data_disk_given_up(volume: &VolumeKey, objects: &Objects) -> bool {
    let Some((uid, number)) = names::numbered_data_disk(&volume.name) else {
        return false;
    };
    let mut made = objects.made.keys().filter_map(|object| {
        let name = object.as_str().strip_prefix(&volume.pool)?;
        names::numbered_data_disk(name.strip_prefix('/')?)
    });
    made.any(|(of, newer)| of == uid && newer > number)
}

/// The data disks that the record's restoration replaced, or replaces in the graph that is made now, and whose deletion
/// is ordered.
pub(crate) fn replaced_data_disks(
    record: &VsiRecord,
    objects: &Objects,
    replaced_now: &[VolumeKey],
) -> Vec<VolumeKey> {
    let volumes = all_disks(record).iter().map(|disk| &disk.of.volume);
    let replaced = volumes.filter(|volume| {
        let is_data_disk = names::numbered_data_disk(&volume.name).is_some();
        let is_replaced = is_data_disk_given_up(volume, objects) || replaced_now.contains(volume);
        is_data_disk && is_replaced && objects.is_permitted(&guards::object_name(volume))
    });
    replaced.cloned().collect()
}

/// Those whose restoration is ordered, or was begun and not finished.
pub(crate) fn pending<'a>(
    record: &'a VsiRecord,
    objects: &'a Objects,
) -> impl Iterator<Item = &'a DiskToRestore> {
    disks(record, objects).filter(|disk| is_pending(&object(disk), objects))
}

/// The name of the disk in the journal's ledger of objects.
pub(crate) fn object(disk: &DiskToRestore) -> Text {
    guards::object_name(&disk.of.volume)
}

/// Whether anything is left of the restoration.
pub(crate) fn is_due(record: &VsiRecord, objects: &Objects) -> bool {
    pending(record, objects).next().is_some()
}

fn is_pending(object: &Text, objects: &Objects) -> bool {
    let mut acts = acts::RESTORATIONS.iter();
    if objects.is_permitted(object) {
        return acts.any(|act| objects.is_ordered_by(object, act));
    }
    let begun = objects.unfinished.get(object);
    begun.is_some_and(|begun| acts.any(|act| begun.as_str() == *act))
}

/// The disks that are made beside the present ones; none if what is left is made in place.
pub(crate) fn beside(record: &VsiRecord, objects: &Objects) -> Vec<DiskToRestore> {
    let action = record.snapshot.as_ref().map(|order| &order.action);
    if !matches!(action, Some(SnapshotAction::Restore { memory: None, .. })) {
        return Vec::new();
    }
    let current = BootDisks::of(record, objects).current();
    let pending: Vec<DiskToRestore> = pending(record, objects).cloned().collect();
    let is_beside = |disk: &DiskToRestore| {
        let (volume, object) = (&disk.of.volume, object(disk));
        let is_numbered = *volume == current || names::numbered_data_disk(&volume.name).is_some();
        is_numbered
            && !objects.unfinished.contains_key(&object)
            && !objects.is_ordered_by(&object, acts::RESTORE_IN_PLACE)
    };
    if pending.iter().all(is_beside) {
        pending
    } else {
        Vec::new()
    }
}
