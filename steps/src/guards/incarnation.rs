//! Whether a disk is still the file that the journal recorded when it was handed to its guest.
//!
//! An order names a disk by pool and name. If a program put another file under that name since, nobody ordered to
//! destroy that one: it may hold what the guest wrote elsewhere, or belong to a newer copy of this journal. The device
//! number is not compared, because a host may number its devices anew when it boots; nor are length and times, which
//! a guest changes. Format and backing file are recorded for people and not compared: a guest with a raw disk writes its
//! header, and an administrator may move what lies below. What the host or its file system does not tell is not
//! compared, either.
//!
//! A data disk is an entity of its own, and several VSIs may restore it one after another. So its identity is recorded
//! in its own stream, whichever entity the step acts for.

use vsiflow_engine::{
    model::{EntityId, Failure, Name, Objects, Text},
    step::{ObjectChange, ObjectFact, StepContext},
};

use super::{data_disks, ledger::object_name};
use crate::{
    error, files, names,
    ports::{DomainInfo, FileIdentity, HostPorts, VolumeInfo, VolumeKey},
};

/// Between the place and the time of birth in a recorded identity.
const BORN: &str = " born ";

/// Before the entity that replaces a disk, in the place of an identity.
const REPLACED_BY: &str = "being replaced by ";

/// Between what identifies the file and its format in a recorded identity.
const FORMAT: &str = " as ";

/// Between the format and the backing file in a recorded identity.
const BACKING: &str = " over ";

/// What identifies the volume's file, for the journal; its path if the host does not tell. `known` is what the journal
/// has already: it stays as it was recorded while the file is the same.
///
/// # Errors
/// Port errors by their kind.
pub(super) async fn identity(
    ports: &HostPorts,
    volume: &VolumeInfo,
    known: Option<&Text>,
) -> Result<Text, Failure> {
    let file = match files::identity(ports, &volume.path).await? {
        Some(FileIdentity {
            place,
            born: Some(born),
        }) => format!("{place}{BORN}{born}"),
        Some(FileIdentity { place, born: None }) => place,
        None => volume.path.clone(),
    };
    let is_same = |recorded: &&Text| {
        let rest = recorded.as_str().strip_prefix(file.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(FORMAT))
            || is_certainly_same(recorded.as_str(), &file)
    };
    if let Some(same) = known.filter(is_same) {
        return Ok(same.clone());
    }
    let format = &volume.format;
    Ok(Text::new(match &volume.backing {
        Some(backing) => format!("{file}{FORMAT}{format}{BACKING}{backing}"),
        None => format!("{file}{FORMAT}{format}"),
    }))
}

/// The data disk that a volume of this name is, if this journal has one of this UID.
pub(super) fn data_disk(key: &VolumeKey) -> Option<EntityId> {
    let (uid, _) = names::numbered_data_disk(&key.name)?;
    EntityId::new(Name::of("disk"), uid.to_string()).ok()
}

/// Records which file the data disk is from now on.
///
/// # Errors
/// Port errors by their kind; when the journal fails.
pub async fn record_data_disk(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
) -> Result<(), Failure> {
    if data_disk(&volume.key).is_none() {
        return Ok(());
    }
    let recorded_identity = recorded(cx, &volume.key);
    let identity = identity(ports, volume, recorded_identity.as_ref()).await?;
    record_file(cx, &volume.key, identity).await
}

/// Records which files the data disks of a domain are that is about to start: they may have been replaced while it was
/// off. From now on an order for one of them means the file that the guest has.
///
/// # Errors
/// As for [`record_data_disk`].
pub async fn record_data_disks(
    cx: &StepContext,
    ports: &HostPorts,
    domain: &DomainInfo,
    named: &[VolumeKey],
) -> Result<(), Failure> {
    let disks = || domain.stored.disks.iter().filter(|disk| !disk.readonly);
    let is_its = |key: &&VolumeKey| disks().any(|disk| disk.is_called(&key.name));
    let disks_of_journal = named.iter().filter(|key| data_disk(key).is_some());
    let volumes: Vec<VolumeKey> = disks_of_journal
        .flat_map(|key| data_disks::nameable_volumes(cx, key))
        .collect();
    for key in volumes.iter().filter(is_its) {
        if let Some(volume) = ports.storage.volume(key).await? {
            record_data_disk(cx, ports, &volume).await?;
        }
    }
    Ok(())
}

/// [`record_data_disk`], if this journal does not know yet which file the data disk is.
///
/// # Errors
/// As for [`record_data_disk`].
pub async fn record_data_disk_once(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
) -> Result<(), Failure> {
    if recorded(cx, &volume.key).is_some() {
        return Ok(());
    }
    record_data_disk(cx, ports, volume).await
}

/// Records that the data disk is about to be replaced: until the end of that, no file is known to be it.
///
/// # Errors
/// When the journal fails.
pub async fn record_replacement(cx: &StepContext, key: &VolumeKey) -> Result<(), Failure> {
    record_file(cx, key, Text::new(format!("{REPLACED_BY}{}", cx.entity))).await
}

/// Whether a recorded identity says that the replacement of the disk was begun and did not end: what is there may be half
/// of it.
pub fn is_being_replaced(identity: &Text) -> bool {
    identity.as_str().starts_with(REPLACED_BY)
}

/// Refuses to use a data disk that a restoration began to replace and did not finish, except for the VSI that restores it.
///
/// # Errors
/// Blocked, `VSI0237`.
pub fn is_whole_disk(cx: &StepContext, ports: &HostPorts, key: &VolumeKey) -> Result<(), Failure> {
    let Some(disk) = data_disk(key) else {
        return Ok(());
    };
    let identity = recorded(cx, key).filter(is_being_replaced);
    let (objects, object) = (cx.ledger.objects(), object_name(key));
    let restores = objects.is_being_destroyed(&object) || objects.is_permitted(&object);
    let Some(identity) = identity.filter(|_| disk == cx.entity || !restores) else {
        return Ok(());
    };
    let replaced_by = identity.as_str().strip_prefix(REPLACED_BY);
    let message = format!(
        "its restoration for {} was begun and not finished: what it holds may be half of it",
        replaced_by.unwrap_or_default()
    );
    Err(error::HALF_RESTORED
        .failure(message)
        .on_host(ports.host.name())
        .of_object(format!("volume {key}")))
}

/// Records in the stream of a data disk what identifies its file; nothing of another volume.
pub(super) async fn record_file(
    cx: &StepContext,
    key: &VolumeKey,
    identity: Text,
) -> Result<(), Failure> {
    let Some(owner) = data_disk(key) else {
        return Ok(());
    };
    let object = object_name(key);
    cx.ledger
        .record(ObjectFact::Of {
            owner,
            object,
            change: ObjectChange::Made(identity),
        })
        .await
}

/// What identifies the volume's file by this journal; `None` if it has no record, or a replacement was begun: what is
/// there may be half of it.
pub(super) fn recorded(cx: &StepContext, key: &VolumeKey) -> Option<Text> {
    let object = object_name(key);
    if let Some(disk) = data_disk(key) {
        return cx.recorded.identity_of(&disk, &object);
    }
    match vsi_of(key).filter(|vsi| *vsi != cx.entity) {
        Some(vsi) => whole(&cx.recorded.objects_of(&vsi)?, &object),
        None => whole(cx.ledger.objects(), &object),
    }
}

fn whole(objects: &Objects, object: &Text) -> Option<Text> {
    let is_whole = !objects.is_being_destroyed(object);
    objects.made.get(object).filter(|_| is_whole).cloned()
}

/// The VSI whose boot disk a volume of this name is.
fn vsi_of(key: &VolumeKey) -> Option<EntityId> {
    let uid = names::vsi_of_boot_disk(&key.name)?;
    EntityId::new(Name::of("vsi"), uid.to_string()).ok()
}

/// Refuses a disk that is another file than the recorded one. References, which have any name, are not compared.
///
/// # Errors
/// Blocked, `VSI0236`; port errors by their kind.
pub async fn is_the_recorded(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
) -> Result<(), Failure> {
    let Some(recorded) = recorded(cx, &volume.key) else {
        return Ok(());
    };
    let present = identity(ports, volume, Some(&recorded)).await?;
    if !are_different(recorded.as_str(), present.as_str()) {
        return Ok(());
    }
    let message = format!(
        "the file is not the one that the guest was given: that was {recorded}, this is {present}"
    );
    Err(error::REPLACED
        .failure(message)
        .on_host(ports.host.name())
        .of_object(format!("volume {}", volume.key)))
}

/// Whether two recorded identities are certainly those of different files.
fn are_different(recorded: &str, present: &str) -> bool {
    let (recorded, present) = (RecordedFile::parse(recorded), RecordedFile::parse(present));
    let births = recorded.born.zip(present.born);
    let inodes = recorded.inode.zip(present.inode);
    births.is_some_and(|(before, now)| before != now)
        || inodes.is_some_and(|(before, now)| before != now)
}

/// Whether two recorded identities are those of one file, although its device has another number.
fn is_certainly_same(recorded: &str, present: &str) -> bool {
    let (recorded, present) = (RecordedFile::parse(recorded), RecordedFile::parse(present));
    recorded.inode.is_some()
        && recorded.inode == present.inode
        && recorded.born.is_some()
        && recorded.born == present.born
}

/// What a recorded identity tells of a file.
struct RecordedFile<'a> {
    /// `None` for a block device, and for a path.
    inode: Option<u64>,
    /// The time of birth.
    born: Option<&'a str>,
}

impl<'a> RecordedFile<'a> {
    fn parse(identity: &'a str) -> Self {
        let file = identity.split_once(FORMAT);
        let identity = file.map_or(identity, |(file, _)| file);
        let (place, born) = match identity.split_once(BORN) {
            Some((place, born)) => (place, Some(born)),
            None => (identity, None),
        };
        let numbers = place
            .split_once(':')
            .filter(|(device, _)| device.parse::<u64>().is_ok());
        Self {
            inode: numbers.and_then(|(_, inode)| inode.parse().ok()),
            born,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::are_different;

    #[test]
    fn files_differ_by_inode_or_birth_and_never_by_what_is_unknown() {
        for (one, other) in [
            ("8:1", "8:2"),
            ("8:1 born 5.5", "8:2 born 5.5"),
            ("8:1 born 5.5", "8:1 born 6.5"),
            ("8:1 as qcow2", "8:2"),
            (
                "8:1 born 5.5 as qcow2 over /pool/a",
                "8:1 born 6.5 as qcow2 over /pool/a",
            ),
        ] {
            assert!(are_different(one, other), "{one} {other}");
        }
        for (one, other) in [
            ("8:1", "8:1"),
            ("8:1", "8:1 born 5.5"),
            ("8:1 born 5.5", "9:1 born 5.5"),
            ("", "8:1 born 5.5"),
            ("/pool/boot-a.qcow2", "8:1 born 5.5"),
            ("device fd:1", "device fd:2"),
            ("device fd:1", "8:1"),
            ("8:1 born 5.5", "8:1 born 5.5 as qcow2 over /pool/a"),
            ("8:1 as raw", "8:1 as qcow2 over /pool/a"),
        ] {
            assert!(!are_different(one, other), "{one} {other}");
        }
    }
}
