//! Whether a boot disk is still the file that the journal recorded when it was handed to its guest.
//!
//! An order names a disk by pool and name. If a program put another file under that name since, nobody ordered to
//! destroy that one: it may hold what the guest wrote elsewhere, or belong to a newer copy of this journal. The device
//! number is not compared, because a host may number its devices anew when it boots; nor are length and times, which
//! a guest changes. What the host or its file system does not tell is not compared, either.

use vsiflow_engine::{
    model::{Failure, Text},
    step::StepContext,
};

use super::ledger::object_name;
use crate::{
    error, files, names,
    ports::{FileIdentity, HostPorts, VolumeInfo},
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

/// Refuses a boot disk that is another file than the recorded one. Disks with names of the user are not compared:
/// more than one entity replaces them. Nor is a disk whose replacement was begun: what is there may be half of it.
///
/// # Errors
/// Blocked, `VSI0236`; port errors by their kind.
pub(super) async fn is_the_recorded(
    cx: &StepContext,
    ports: &HostPorts,
    volume: &VolumeInfo,
) -> Result<(), Failure> {
    let (objects, object) = (cx.ledger.objects(), object_name(&volume.key));
    let is_boot_disk = names::vsi_of_boot_disk(&volume.key.name).is_some();
    let is_compared = is_boot_disk && !objects.is_being_destroyed(&object);
    let Some(recorded) = objects.made.get(&object).filter(|_| is_compared) else {
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
