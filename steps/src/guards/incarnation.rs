//! Whether a disk is still the file that the journal recorded when it was handed to its guest.
//!
//! An order names a disk by pool and name. If a program put another file under that name since, nobody ordered to
//! destroy that one: it may hold what the guest wrote elsewhere, or belong to a newer copy of this journal. The device
//! number is not compared, because a host may number its devices anew when it boots; nor are length and times, which
//! a guest changes. What the host or its file system does not tell is not compared, either.
//!
//! A data disk is an entity of its own, and several VSIs may restore it one after another. So its identity is recorded
//! in its own stream, whichever entity the step acts for.

use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityId, Failure, Name, Text},
    step::{ObjectFact, StepContext},
};

use super::ledger::object_name;
use crate::{
    error, files,
    ports::{DomainInfo, FileIdentity, HostPorts, VolumeInfo, VolumeKey},
};

/// Between the place and the time of birth in a recorded identity.
const BORN: &str = " born ";

/// What identifies the volume's file, for the journal; its path if the host does not tell.
///
/// # Errors
/// Port errors by their kind.
pub(super) async fn identity(ports: &HostPorts, volume: &VolumeInfo) -> Result<Text, Failure> {
    let identity = files::identity(ports, &volume.path).await?;
    Ok(Text::new(match identity {
        Some(FileIdentity {
            place,
            born: Some(born),
        }) => format!("{place}{BORN}{born}"),
        Some(FileIdentity { place, born: None }) => place,
        None => volume.path.clone(),
    }))
}

/// The data disk that a volume of this name is, if this journal has one of this UID.
fn data_disk(key: &VolumeKey) -> Option<EntityId> {
    let uid: Uuid = key.name.parse().ok()?;
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
    let identity = identity(ports, volume).await?;
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
    let is_its = |key: &&VolumeKey| {
        disks().any(|disk| disk.source.rsplit('/').next() == Some(key.name.as_str()))
    };
    let is_data_disk = |key: &&VolumeKey| data_disk(key).is_some();
    for key in named.iter().filter(is_data_disk).filter(is_its) {
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
    record_file(cx, key, Text::default()).await
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
        .record(ObjectFact::MadeOf {
            owner,
            object,
            identity,
        })
        .await
}

/// What identifies the volume's file by this journal; `None` if it has no record, or a replacement was begun: what is
/// there may be half of it.
fn recorded(cx: &StepContext, key: &VolumeKey) -> Option<Text> {
    let (objects, object) = (cx.ledger.objects(), object_name(key));
    if let Some(disk) = data_disk(key) {
        return cx.recorded.identity_of(&disk, &object);
    }
    let is_whole = !objects.is_being_destroyed(&object);
    objects.made.get(&object).filter(|_| is_whole).cloned()
}

/// Refuses a disk that is another file than the recorded one. References, which have any name, are not compared.
///
/// # Errors
/// Blocked, `VSI0236`; port errors by their kind.
pub(super) async fn is_the_recorded(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
) -> Result<(), Failure> {
    let Some(recorded) = recorded(cx, &volume.key) else {
        return Ok(());
    };
    let present = identity(ports, volume).await?;
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

/// What a recorded identity tells of a file.
struct RecordedFile<'a> {
    /// `None` for a block device, and for a path.
    inode: Option<u64>,
    /// The time of birth.
    born: Option<&'a str>,
}

impl<'a> RecordedFile<'a> {
    fn parse(identity: &'a str) -> Self {
        let (place, born) = match identity.split_once(BORN) {
            Some((place, born)) => (place, Some(born)),
            None => (identity, None),
        };
        let numbers = place.split_once(':');
        let numbers = numbers.filter(|(device, _)| device.parse::<u64>().is_ok());
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
        ] {
            assert!(!are_different(one, other), "{one} {other}");
        }
    }
}
