//! Which volume a data disk is at this moment, for steps whose parameters name it by its first one.

use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Objects, Text},
    step::{ObjectChange, ObjectFact, StepContext},
};

use super::{incarnation, ledger, not_ours};
use crate::{
    disk::DataDiskVolumes,
    names,
    ports::{DomainInfo, HostPorts, VolumeInfo, VolumeKey},
    snapshot::found,
};

/// What this journal has of the objects of a data disk; nothing if the volume is none of this journal.
fn objects_of(cx: &StepContext, key: &VolumeKey) -> Option<Objects> {
    cx.recorded.objects_of(&incarnation::data_disk(key)?)
}

/// What this journal has of the volumes of a data disk, asked by `ask`; `None` for any other volume.
fn ask_volumes<T>(
    cx: &StepContext,
    key: &VolumeKey,
    ask: impl FnOnce(DataDiskVolumes<'_>) -> T,
) -> Option<T> {
    let objects = objects_of(cx, key)?;
    DataDiskVolumes::of(key, &objects).map(ask)
}

/// The volume that a disk is now, of the first one by which it is named. Any other volume is what it is called.
pub fn current_volume(cx: &StepContext, key: &VolumeKey) -> VolumeKey {
    let current = ask_volumes(cx, key, |volumes| volumes.current());
    current.unwrap_or_else(|| key.clone())
}

/// The volumes that the definition of a guest may name for a disk; the present one last.
pub(crate) fn nameable_volumes(cx: &StepContext, key: &VolumeKey) -> Vec<VolumeKey> {
    let nameable = ask_volumes(cx, key, |volumes| volumes.nameable());
    nameable.unwrap_or_else(|| vec![key.clone()])
}

/// [`nameable_volumes`] of all these.
pub(crate) fn all_nameable(cx: &StepContext, keys: &[VolumeKey]) -> Vec<VolumeKey> {
    let volumes = keys.iter().flat_map(|key| nameable_volumes(cx, key));
    volumes.collect()
}

/// All volumes that may exist of a disk, the present one first; each with whether a guest may have written to it.
pub(crate) fn all_volumes(cx: &StepContext, key: &VolumeKey) -> Vec<(VolumeKey, bool)> {
    let volumes = ask_volumes(cx, key, |volumes| volumes.all());
    volumes.unwrap_or_else(|| vec![(key.clone(), true)])
}

/// The volume that a restoration of the disk makes beside the present one, and whether it was begun before. `None` if
/// the journal has no such disk.
pub(crate) fn next_volume(cx: &StepContext, key: &VolumeKey) -> Option<(VolumeKey, bool)> {
    let objects = objects_of(cx, key)?;
    let next = DataDiskVolumes::of(key, &objects)?.next();
    let is_begun = objects.begun.contains(&ledger::object_name(&next));
    Some((next, is_begun))
}

/// Refuses to make the first volume of a disk where the host has a later one of it: a restoration made that one, by a
/// journal that this one was not restored from or that has forgotten it, and it holds what the guest wrote.
///
/// # Errors
/// Blocked, `VSI0207`; port errors by their kind.
pub(crate) async fn no_later_volume(ports: &HostPorts, key: &VolumeKey) -> Result<(), Failure> {
    let Some((uid, _)) = names::numbered_data_disk(&key.name) else {
        return Ok(());
    };
    let is_its = |volume: &VolumeInfo| {
        let name = &volume.key.name;
        *name != key.name && names::is_of_data_disk(name, uid)
    };
    let volumes = ports.storage.volumes(&key.pool).await?;
    match volumes.iter().find(|volume| is_its(volume)) {
        Some(volume) => Err(not_ours(ports, &volume.key)),
        None => Ok(()),
    }
}

/// Records in the stream of the disk that a volume is about to be made beside the present one.
///
/// # Errors
/// When the journal fails.
pub(crate) async fn record_beside(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    record(cx, key, ObjectChange::Begun).await
}

/// Records in the stream of the disk that a definition which is about to be written names the volume: from then on a
/// guest may write to it.
///
/// # Errors
/// Port errors by their kind; when the journal fails.
pub(crate) async fn record_handed_over(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<(), Failure> {
    let volume = found(ports, key, "the disk is gone since it was made").await?;
    incarnation::record_data_disk(cx, ports, &volume).await
}

/// Refuses to give a guest a disk of which the host has a later volume than this journal knows: a newer copy of the journal
/// restored it, and what the guest wrote since is there. `listed` are the volumes of the active pools.
///
/// # Errors
/// Blocked, `VSI0207`.
pub(crate) fn is_newest_known(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
    listed: &[VolumeInfo],
) -> Result<(), Failure> {
    let highest = ask_volumes(cx, key, |volumes| volumes.highest());
    let Some((highest, (uid, _))) = highest.zip(names::numbered_data_disk(&key.name)) else {
        return Ok(());
    };
    let is_later = |volume: &&VolumeInfo| {
        let numbered = names::numbered_data_disk(&volume.key.name);
        let same_disk = numbered.filter(|(disk, _)| *disk == uid && volume.key.pool == key.pool);
        same_disk.is_some_and(|(_, number)| number > highest)
    };
    match listed.iter().find(is_later) {
        Some(volume) => Err(not_ours(ports, &volume.key)),
        None => Ok(()),
    }
}

/// The same for the boot disk of this VSI, if its guest may have written to it.
///
/// # Errors
/// Blocked, `VSI0207`; port errors by their kind.
pub(super) async fn is_newest_known_boot_disk(
    cx: &StepContext,
    ports: &HostPorts,
    uid: Uuid,
    key: &VolumeKey,
) -> Result<(), Failure> {
    let objects = cx.ledger.objects();
    let number_of = |object: &Text| {
        let name = object.as_str().strip_prefix(&key.pool)?;
        names::boot_disk_number(name.strip_prefix('/')?, uid)
    };
    if !objects.made.contains_key(&ledger::object_name(key)) {
        return Ok(());
    }
    let recorded = objects.made.keys();
    let numbers = recorded
        .chain(&objects.begun)
        .chain(&objects.newest)
        .filter_map(number_of);
    let highest = numbers.max().unwrap_or(0);
    let volumes = ports.storage.volumes(&key.pool).await?;
    let later = volumes.iter().find(|volume| {
        let number = names::boot_disk_number(&volume.key.name, uid);
        number.is_some_and(|number| number > highest)
    });
    match later {
        Some(volume) => Err(not_ours(ports, &volume.key)),
        None => Ok(()),
    }
}

/// Finds out which volume a disk is that an earlier journal made: the one that the definition of a guest names. Nothing is
/// recorded if the host has the first one alone, or if this journal knows already.
///
/// # Errors
/// Blocked, `VSI0207`, if the host has several volumes of the disk and no guest, or more than one, names one of them; port
/// errors by their kind; when the journal fails.
pub(crate) async fn find_present(
    cx: &StepContext,
    ports: &HostPorts,
    first: &VolumeKey,
) -> Result<(), Failure> {
    let Some((uid, _)) = names::numbered_data_disk(&first.name) else {
        return Ok(());
    };
    if objects_of(cx, first).is_some_and(|objects| objects.in_use.is_some()) {
        return Ok(());
    }
    let mut volumes = ports.storage.volumes(&first.pool).await?;
    volumes.retain(|volume| names::is_of_data_disk(&volume.key.name, uid));
    let Some(later) = volumes.iter().find(|volume| volume.key != *first) else {
        return Ok(());
    };
    let domains = ports.domains.domains().await?;
    let disks = || {
        let shapes = domains.iter().flat_map(DomainInfo::shapes);
        shapes.flat_map(|shape| &shape.disks)
    };
    let is_written = |volume: &&VolumeInfo| {
        let name = &volume.key.name;
        disks().any(|disk| !disk.readonly && disk.is_called(name))
    };
    let mut written = volumes.iter().filter(is_written);
    match (written.next(), written.next()) {
        (Some(volume), None) => {
            let object = ledger::object_name(&volume.key);
            cx.ledger.record(ObjectFact::InUse { object }).await?;
            incarnation::record_data_disk(cx, ports, volume).await
        }
        _ => Err(not_ours(ports, &later.key)),
    }
}

/// Records in the stream of a data disk which volume it is: that of a domain which is adopted.
///
/// # Errors
/// As for [`record_handed_over`].
pub(crate) async fn record_adopted(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<(), Failure> {
    record(cx, key, ObjectChange::InUse).await?;
    record_handed_over(cx, ports, key).await
}

/// Records that the disk is this volume from now on, also for the VSI that restored it: a definition names it.
///
/// # Errors
/// As for [`record_handed_over`].
pub(crate) async fn record_switched(
    cx: &StepContext,
    ports: &HostPorts,
    key: &VolumeKey,
) -> Result<(), Failure> {
    record(cx, key, ObjectChange::InUse).await?;
    ledger::record_made(cx, ports, key).await
}

/// Records in the stream of the disk that one of its volumes is gone; nothing of another volume.
///
/// # Errors
/// When the journal fails.
pub(super) async fn record_gone(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    record(cx, key, ObjectChange::Gone).await
}

async fn record(cx: &StepContext, key: &VolumeKey, change: ObjectChange) -> Result<(), Failure> {
    let Some(owner) = incarnation::data_disk(key).filter(|owner| *owner != cx.entity) else {
        return Ok(());
    };
    let object = Text::new(key.to_string());
    cx.ledger
        .record(ObjectFact::Of {
            owner,
            object,
            change,
        })
        .await
}
