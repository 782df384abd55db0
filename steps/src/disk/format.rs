//! The format of a disk that is attached: what it was when it was attached first, never what a
//! guest has written into it since.

use vsiflow_engine::model::Failure;

use crate::{
    error,
    image::qcow2::{self, HEADER_MAX, Unfit},
    ports::{DomainInfo, HostPorts, VolumeFormat, VolumeInfo},
};

/// What libvirt calls bytes that QEMU would not take for an image of a format of its own. `luks`
/// is what a guest that encrypts its raw disk leaves there.
const PLAIN: [&str; 7] = ["raw", "iso", "luks", "fat", "none", "dos", "gpt"];

/// Holds that the disk is what it was, and reads through to no other file.
///
/// A guest writes what it likes into a raw disk, a header too that names a file of somebody else:
/// whoever took the format from the disk itself would give that file to the guest. So it is
/// `pinned` by what this journal recorded, or by the definition that stands; only a disk that is
/// seen for the first time says it itself.
///
/// # Errors
/// `VSI0218` where the disk says otherwise, or is no disk that stands alone; port errors by their
/// kind.
pub(crate) async fn pinned(
    ports: &HostPorts,
    volume: &VolumeInfo,
    pinned: Option<VolumeFormat>,
) -> Result<VolumeFormat, Failure> {
    let found = alone(ports, volume).await?;
    match pinned {
        Some(pinned) if pinned.as_str() != found => {
            let (was, is) = (pinned.as_str(), found);
            let message = format!("the disk was attached as {was}, and is {is} now");
            Err(changed(ports, volume, &message))
        }
        Some(pinned) => Ok(pinned),
        None => known(ports, volume, &found),
    }
}

/// The format that a definition gives a disk; none where it does not name the disk.
pub(crate) fn defined(domain: &DomainInfo, path: &str) -> Option<VolumeFormat> {
    let mut disks = domain.stored.disks.iter();
    let disk = disks.find(|disk| disk.source == path)?;
    match disk.format.as_str() {
        "raw" => Some(VolumeFormat::Raw),
        "qcow2" => Some(VolumeFormat::Qcow2),
        _ => None,
    }
}

/// The failure for a disk that is not what it was, or is no disk that stands alone.
pub(crate) fn changed(ports: &HostPorts, volume: &VolumeInfo, message: &str) -> Failure {
    error::DISK_FORMAT
        .failure(message)
        .on_host(ports.host.name())
        .of_object(format!("volume {}", volume.key))
}

/// What the disk says of itself, in libvirt's word; it stands alone.
async fn alone(ports: &HostPorts, volume: &VolumeInfo) -> Result<String, Failure> {
    let head = ports.storage.read(&volume.key, 0, HEADER_MAX).await?;
    let unfit = |unfit: Unfit| changed(ports, volume, &format!("the disk cannot be used: {unfit}"));
    let found = match qcow2::virtual_size(&head) {
        Ok(_) => VolumeFormat::Qcow2.as_str().to_owned(),
        Err(Unfit::NotQcow2) => of_host(volume),
        Err(other) => return Err(unfit(other)),
    };
    match &volume.backing {
        Some(_) => Err(unfit(Unfit::Backing)),
        None => Ok(found),
    }
}

/// The host's word for what is no qcow2. It may have looked before somebody wrote to it.
fn of_host(volume: &VolumeInfo) -> String {
    let word = volume.format.as_str();
    let stale = word == VolumeFormat::Qcow2.as_str();
    if stale || PLAIN.contains(&word) {
        VolumeFormat::Raw.as_str().to_owned()
    } else {
        word.to_owned()
    }
}

fn known(ports: &HostPorts, volume: &VolumeInfo, found: &str) -> Result<VolumeFormat, Failure> {
    match found {
        "qcow2" => Ok(VolumeFormat::Qcow2),
        "raw" => Ok(VolumeFormat::Raw),
        other => Err(error::REJECTED
            .failure(format!("a data disk of format {other} cannot be attached"))
            .on_host(ports.host.name())
            .of_object(format!("volume {}", volume.key))),
    }
}
