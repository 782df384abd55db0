//! The memory of a guest that a snapshot has beside its disks.
//!
//! It is a file of the host's own making in the pool of the boot disk. It counts as whole only once the
//! host has synced and hashed it: one that lost its tail would still be taken up, by a guest that then
//! works with what is not there. It has the guest's secrets in it, and belongs to the host alone: no
//! document can name it, and nothing of vsiflow's reads it but its hash.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::Failure;

use super::{found, layers};
use crate::{
    error,
    ports::{DomainInfo, DomainShape, HostPorts, VolumeInfo, VolumeKey},
};

/// What a host may write beside the memory itself: devices, and the definition.
const OVERHEAD: u64 = 64 << 20;

/// A file with the memory of a guest, as it was when it was whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedMemory {
    /// The file, as a volume of its pool.
    pub volume: VolumeKey,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256, in hexadecimal.
    pub sha256: String,
}

/// Where a guest's memory is saved: beside its boot disk.
pub(super) fn path(boot: &VolumeInfo, memory: &VolumeKey) -> String {
    layers::beside(&boot.path, memory)
}

/// The most that the memory of a guest takes on its host, in bytes.
pub(super) fn at_most(domain: &DomainInfo) -> u64 {
    let shape = domain.live.as_ref().unwrap_or(&domain.stored);
    shape
        .memory_mib
        .saturating_mul(1 << 20)
        .saturating_add(OVERHEAD)
}

/// Has the host write the file to its disk, and measures what is there.
pub(super) async fn measure(ports: &HostPorts, volume: &VolumeKey) -> Result<SavedMemory, Failure> {
    let gone = "the memory is gone since it was saved";
    // The host knows no volume that it did not make as one before its pool was looked at again.
    found(ports, volume, gone).await?;
    ports.storage.sync(volume).await?;
    ports.storage.drop_cached(volume).await?;
    let sha256 = ports.storage.sha256(volume).await?;
    let file = found(ports, volume, gone).await?;
    Ok(SavedMemory {
        volume: volume.clone(),
        length: file.physical,
        sha256: sha256.to_string(),
    })
}

/// The file, if it has every byte that was saved.
pub(super) async fn intact(ports: &HostPorts, memory: &SavedMemory) -> Result<VolumeInfo, Failure> {
    let file = of_length(ports, memory).await?;
    ports.storage.drop_cached(&memory.volume).await?;
    if ports.storage.sha256(&memory.volume).await?.to_string() != memory.sha256 {
        return Err(damaged(
            ports,
            memory,
            "its bytes are not those that were saved",
        ));
    }
    Ok(file)
}

/// The file, if it is as long as it was.
pub(crate) async fn of_length(
    ports: &HostPorts,
    memory: &SavedMemory,
) -> Result<VolumeInfo, Failure> {
    let Some(file) = ports.storage.volume(&memory.volume).await? else {
        return Err(damaged(
            ports,
            memory,
            "the file with the memory is not there",
        ));
    };
    if file.physical == memory.length {
        return Ok(file);
    }
    let why = format!(
        "the file with the memory has {} bytes instead of {}",
        file.physical, memory.length
    );
    Err(damaged(ports, memory, &why))
}

/// The failure of memory that must not be taken up.
pub(crate) fn damaged(ports: &HostPorts, memory: &SavedMemory, why: &str) -> Failure {
    error::MEMORY_DAMAGED
        .failure(why)
        .on_host(ports.host.name())
        .of_object(format!("volume {}", memory.volume))
}

/// The failure of memory of another machine.
pub(crate) fn unfit(ports: &HostPorts, uuid: Uuid, why: &str) -> Failure {
    error::MEMORY_UNFIT
        .failure(why)
        .on_host(ports.host.name())
        .of_object(format!("domain {uuid}"))
}

/// In what a machine differs from the one whose memory was saved; none where it is the same.
pub(super) fn difference(saved: &DomainShape, now: &DomainShape) -> Option<&'static str> {
    let differs = [
        (saved.cpus != now.cpus, "virtual CPUs"),
        (saved.memory_mib != now.memory_mib, "memory"),
        (saved.disks != now.disks, "disks"),
        (saved.nics != now.nics, "network cards"),
        (saved.screens != now.screens, "screen"),
    ];
    let mut differs = differs.into_iter();
    differs.find_map(|(differs, what)| differs.then_some(what))
}

/// A volume whose content may only be what a step of the same run left in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeTrace {
    /// The volume.
    pub volume: VolumeKey,
    /// The file's length in bytes.
    pub length: u64,
    /// When its content last changed, in the host's words; none where the host does not say.
    pub modified: Option<String>,
}

impl VolumeTrace {
    /// What shows later whether somebody wrote to the volume.
    pub(crate) fn of(volume: &VolumeInfo) -> Self {
        Self {
            volume: volume.key.clone(),
            length: volume.physical,
            modified: volume.modified.clone(),
        }
    }
}

/// A volume that somebody may have written to since it was traced.
pub(crate) async fn written_since<'t>(
    ports: &HostPorts,
    traces: &'t [VolumeTrace],
) -> Result<Option<&'t VolumeKey>, Failure> {
    for trace in traces {
        let now = found(ports, &trace.volume, "the disk is gone").await?;
        if trace.modified.is_none() || VolumeTrace::of(&now) != *trace {
            return Ok(Some(&trace.volume));
        }
    }
    Ok(None)
}
