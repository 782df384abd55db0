//! The memory of a guest in a snapshot, in addition to its disks.
//!
//! It is a file that the host writes into the pool of the boot disk. It counts as whole only once the
//! host has synced and hashed it: a truncated file would still be restored, and the guest would work with
//! missing data. It holds the guest's secrets and belongs to the host alone: no document can name it, and
//! vsiflow reads only its hash.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::model::Failure;

use super::{found, layers};
use crate::{
    error,
    ports::{DiskShape, DomainInfo, DomainShape, HostPorts, VolumeInfo, VolumeKey},
};

/// Maximum of what a host writes in addition to the memory itself: devices, and the definition.
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

/// The path at which a guest's memory is saved: beside its boot disk.
pub(super) fn path(boot: &VolumeInfo, memory: &VolumeKey) -> String {
    layers::beside(&boot.path, memory)
}

/// The maximum size of a guest's saved memory on its host, in bytes.
pub(super) fn at_most(domain: &DomainInfo) -> u64 {
    let shape = domain.live.as_ref().unwrap_or(&domain.stored);
    shape
        .memory_mib
        .saturating_mul(1 << 20)
        .saturating_add(OVERHEAD)
}

/// Syncs the file to the host's disk, and measures its length and hash.
pub(super) async fn measure(ports: &HostPorts, volume: &VolumeKey) -> Result<SavedMemory, Failure> {
    let gone = "the memory is gone since it was saved";
    // Refreshes the pool: the host does not list a file that it did not create as a volume before that.
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

/// The file, if its bytes are the ones that were saved.
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

/// The file, if it has the recorded length.
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

/// The failure for memory that must not be restored.
pub(crate) fn damaged(ports: &HostPorts, memory: &SavedMemory, why: &str) -> Failure {
    error::MEMORY_DAMAGED
        .failure(why)
        .on_host(ports.host.name())
        .of_object(format!("volume {}", memory.volume))
}

/// The failure for memory of another machine.
pub(crate) fn unfit(ports: &HostPorts, uuid: Uuid, why: &str) -> Failure {
    error::MEMORY_UNFIT
        .failure(why)
        .on_host(ports.host.name())
        .of_object(format!("domain {uuid}"))
}

/// The first difference between a machine and the one whose memory was saved; `None` if they are equal.
pub(super) fn difference(saved: &DomainShape, now: &DomainShape) -> Option<&'static str> {
    let differs = [
        (saved.cpus != now.cpus, "virtual CPUs"),
        (saved.memory_mib != now.memory_mib, "memory"),
        (!are_same_disks(&saved.disks, &now.disks), "disks"),
        (saved.nics != now.nics, "network cards"),
        (saved.screens != now.screens, "screen"),
    ];
    (differs.into_iter()).find_map(|(differs, what)| differs.then_some(what))
}

/// Whether they are the same disks for the guest. A disk that the guest writes to may be another file by now.
fn are_same_disks(saved: &[DiskShape], now: &[DiskShape]) -> bool {
    let as_seen_by_guest = |disk: &DiskShape| DiskShape {
        source: if disk.readonly {
            disk.source.clone()
        } else {
            String::new()
        },
        ..disk.clone()
    };
    saved
        .iter()
        .map(as_seen_by_guest)
        .eq(now.iter().map(as_seen_by_guest))
}

/// A volume's state after a step, to check later that only that step has written to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeTrace {
    /// The volume.
    pub volume: VolumeKey,
    /// The file's length in bytes.
    pub length: u64,
    /// The content's last change, in the host's words; `None` if the host does not report it.
    pub modified: Option<String>,
}

impl VolumeTrace {
    /// The state of the volume now.
    pub(crate) fn of(volume: &VolumeInfo) -> Self {
        Self {
            volume: volume.key.clone(),
            length: volume.physical,
            modified: volume.modified.clone(),
        }
    }
}

/// The first volume that may have been written to since it was traced.
pub(crate) async fn written_since<'t>(
    ports: &HostPorts,
    traces: &'t [VolumeTrace],
) -> Result<Option<&'t VolumeKey>, Failure> {
    for trace in traces {
        let current = found(ports, &trace.volume, "the disk is gone").await?;
        if trace.modified.is_none() || VolumeTrace::of(&current) != *trace {
            return Ok(Some(&trace.volume));
        }
    }
    Ok(None)
}
