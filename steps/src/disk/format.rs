//! The format of an attached disk: the one it had when it was first attached, never what a guest has
//! written into it since.

use vsiflow_engine::model::Failure;

use crate::{
    error,
    image::qcow2::{self, HEADER_MAX, Unfit},
    ports::{DiskShape, DomainInfo, HostPorts, VolumeFormat, VolumeInfo},
};

/// libvirt's words for content that QEMU would not take for an image of a format of its own. `luks`
/// results from a guest that encrypts its raw disk.
const PLAIN: [&str; 7] = ["raw", "iso", "luks", "fat", "none", "dos", "gpt"];

/// Checks that the disk still has its format, and reads through to no other file.
///
/// A guest can write anything into a raw disk, including a header that names a foreign file. If the
/// format were detected from the disk itself, the guest would get access to that file. So the format is
/// `pinned` by what this journal recorded, or by the current definition. It is detected only if the disk
/// is seen for the first time.
///
/// # Errors
/// `VSI0218` if the disk has another format or needs another file; port errors by their kind.
pub(crate) async fn pinned(
    ports: &HostPorts,
    volume: &VolumeInfo,
    pinned: Option<VolumeFormat>,
) -> Result<VolumeFormat, Failure> {
    let format = alone(ports, volume).await?;
    match pinned {
        Some(pinned) if pinned.as_str() != format => {
            let (was, is) = (pinned.as_str(), format);
            let message = format!("the disk was attached as {was}, and is {is} now");
            Err(changed(ports, volume, &message))
        }
        Some(pinned) => Ok(pinned),
        None => known(ports, volume, &format),
    }
}

/// A disk's format in a definition; `None` if the definition does not name the disk.
pub(crate) fn defined(domain: &DomainInfo, path: &str) -> Option<VolumeFormat> {
    let mut disks = domain.stored.disks.iter();
    disks
        .find(|disk| disk.source == path)
        .and_then(known_format)
}

/// The format in a definition of a disk with a name that no other file has. The file may be absent.
pub(crate) fn of_volume(domain: &DomainInfo, name: &str) -> Option<VolumeFormat> {
    let mut disks = domain.stored.disks.iter();
    let disk = disks.find(|disk| disk.is_called(name));
    disk.and_then(known_format)
}

fn known_format(disk: &DiskShape) -> Option<VolumeFormat> {
    match disk.format.as_str() {
        "raw" => Some(VolumeFormat::Raw),
        "qcow2" => Some(VolumeFormat::Qcow2),
        _ => None,
    }
}

/// The failure for a disk that has another format, or needs another file.
pub(crate) fn changed(ports: &HostPorts, volume: &VolumeInfo, message: &str) -> Failure {
    error::DISK_FORMAT
        .failure(message)
        .on_host(ports.host.name())
        .of_object(format!("volume {}", volume.key))
}

/// Detects the disk's format, in libvirt's word; an error if it needs another file.
async fn alone(ports: &HostPorts, volume: &VolumeInfo) -> Result<String, Failure> {
    let head = ports.storage.read(&volume.key, 0, HEADER_MAX).await?;
    let unfit = |unfit: Unfit| changed(ports, volume, &format!("the disk cannot be used: {unfit}"));
    let format = match qcow2::virtual_size(&head) {
        Ok(_) => VolumeFormat::Qcow2.as_str().to_owned(),
        Err(Unfit::NotQcow2) => of_host(volume),
        Err(reason) => return Err(unfit(reason)),
    };
    match &volume.backing {
        Some(_) => Err(unfit(Unfit::Backing)),
        None => Ok(format),
    }
}

/// The host's word for a disk that is not qcow2. The host may have detected it before a later write.
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
