//! What is left to do of the restoration of a VSI's disks from a snapshot.
//!
//! A boot disk alone is made beside the present one, under a name that none had before, while the guest runs, and one
//! definition switches to it. Until then a failure, a cancellation or a crash loses nothing. It is made in the place
//! of the present one only where that is ordered, where memory is restored with it, because saved memory names the
//! files of its disks, or where the present one is half replaced already. Data disks keep their names, so they are
//! replaced in place, and the boot disk with them: no boot disk of one moment meets data of another. Nothing here
//! destroys; it only says what is to be made, and where.

use vsiflow_engine::model::{Objects, Text};
use vsiflow_steps::{guards, snapshot::restore_disks::DiskToRestore};

use crate::{
    acts,
    boot_disks::BootDisks,
    record::{SnapshotAction, VsiRecord},
};

/// The disks that the record's restoration replaces, without a boot disk that the definition names no more.
pub(crate) fn disks<'a>(
    record: &'a VsiRecord,
    objects: &'a Objects,
) -> impl Iterator<Item = &'a DiskToRestore> {
    let action = record.snapshot.as_ref().map(|order| &order.action);
    let disks = match action {
        Some(SnapshotAction::Restore { disks, .. }) => disks.as_slice(),
        _ => &[],
    };
    let boot_disks = BootDisks::of(record, objects);
    disks
        .iter()
        .filter(move |disk| !boot_disks.is_given_up(&disk.of.volume))
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

/// The boot disk that is made beside the present one; `None` if what is left is made in place.
pub(crate) fn beside<'a>(record: &'a VsiRecord, objects: &'a Objects) -> Option<&'a DiskToRestore> {
    let action = record.snapshot.as_ref().map(|order| &order.action);
    if !matches!(action, Some(SnapshotAction::Restore { memory: None, .. })) {
        return None;
    }
    let current = BootDisks::of(record, objects).current();
    let mut pending = pending(record, objects);
    let (first, others) = (pending.next()?, pending.next());
    let object = object(first);
    let is_in_place = objects.unfinished.contains_key(&object)
        || objects.is_ordered_by(&object, acts::RESTORE_IN_PLACE);
    (first.of.volume == current && others.is_none() && !is_in_place).then_some(first)
}
