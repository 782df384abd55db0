//! What a restoration reads before it changes anything: the copies, and the room for the disks that are made of them.

use vsiflow_engine::model::Failure;

use super::{copies, found, restore_disks::DiskToRestore};
use crate::{
    disk::format,
    error,
    ports::{DomainInfo, HostPorts, PoolInfo, VolumeFormat, VolumeInfo},
    vsi::clone_boot_disk::NO_ROOM_FOR_BOTH,
};

/// Checks the copies and the room as [`RestoreDisks`](super::RestoreDisks) does, while the guest may run. Of the copies
/// it checks the lengths, because hashes need the whole files. Nothing is changed.
///
/// # Errors
/// The reason why the disks would not be restored; port errors by their kind.
pub async fn foresee(ports: &HostPorts, disks: &[DiskToRestore]) -> Result<(), Failure> {
    let mut room = RestoredRoom::of(ports).await?;
    for disk in disks {
        let copy = copy_of_length(ports, disk).await?;
        let old = ports.storage.volume(&disk.of.volume).await?;
        room.add(disk, &copy, old.as_ref());
    }
    room.check(ports)
}

/// [`foresee`] for disks that are made beside the present ones.
///
/// # Errors
/// As for [`foresee`]; `VSI0203` with the remedy `--in-place` where a pool has no room for both.
pub async fn foresee_beside(ports: &HostPorts, disks: &[DiskToRestore]) -> Result<(), Failure> {
    let mut room = RestoredRoom::of(ports).await?;
    for disk in disks {
        let copy = copy_of_length(ports, disk).await?;
        room.add(disk, &copy, None);
    }
    room.check_beside(ports)
}

async fn copy_of_length(ports: &HostPorts, disk: &DiskToRestore) -> Result<VolumeInfo, Failure> {
    let copy = copy_of(ports, disk).await?;
    if let Some(expected) = &disk.expected {
        copies::check_length(ports, &copy, expected)?;
    }
    Ok(copy)
}

pub(super) async fn copy_of(
    ports: &HostPorts,
    disk: &DiskToRestore,
) -> Result<VolumeInfo, Failure> {
    found(ports, &disk.of.copy, "the snapshot's copy is not there").await
}

/// The copy of a disk, if it is what was recorded.
pub(super) async fn whole_copy(
    ports: &HostPorts,
    disk: &DiskToRestore,
) -> Result<VolumeInfo, Failure> {
    let copy = copy_of(ports, disk).await?;
    if let Some(expected) = &disk.expected {
        copies::check(ports, &copy, expected).await?;
    }
    Ok(copy)
}

/// The format in which the guest has the disk: it cannot read another one.
pub(super) fn format_of(domain: Option<&DomainInfo>, disk: &DiskToRestore) -> VolumeFormat {
    let defined = domain.and_then(|domain| format::of_volume(domain, &disk.of.volume.name));
    defined.unwrap_or(VolumeFormat::Qcow2)
}

/// Grows a restored disk to the size that the guest will see.
pub(super) async fn grow(
    ports: &HostPorts,
    disk: &DiskToRestore,
    made: &VolumeInfo,
) -> Result<(), Failure> {
    if let Some(size) = disk.size.filter(|size| *size > made.capacity) {
        ports.storage.resize(&made.key, size).await?;
        ports.storage.sync(&made.key).await?;
    }
    Ok(())
}

/// The pools of a host, with the bytes that restored disks need in them.
pub(super) struct RestoredRoom(Vec<(PoolInfo, u64)>);

impl RestoredRoom {
    pub(super) async fn of(ports: &HostPorts) -> Result<Self, Failure> {
        let pools = ports.storage.pools().await?.into_iter();
        Ok(Self(pools.map(|pool| (pool, 0)).collect()))
    }

    /// Counts a copy, and the volume that is deleted before it is made.
    pub(super) fn add(
        &mut self,
        disk: &DiskToRestore,
        copy: &VolumeInfo,
        old: Option<&VolumeInfo>,
    ) {
        let mut pools = self.0.iter_mut();
        if let Some((pool, needed)) = pools.find(|(pool, _)| pool.name == disk.of.volume.pool) {
            let freed = old.map_or(0, |old| old.allocation);
            pool.available = pool.available.saturating_add(freed);
            *needed = needed.saturating_add(copy.allocation);
        }
    }

    /// [`Self::check`] for disks beside the present ones, which could be given up first.
    pub(super) fn check_beside(&self, ports: &HostPorts) -> Result<(), Failure> {
        let checked = self.check(ports);
        checked.map_err(|failure| failure.with_remedy(NO_ROOM_FOR_BOTH))
    }

    pub(super) fn check(&self, ports: &HostPorts) -> Result<(), Failure> {
        let mut pools = self.0.iter();
        let Some((pool, needed)) = pools.find(|(pool, needed)| *needed > pool.available) else {
            return Ok(());
        };
        Err(error::NO_SPACE
            .failure(format!(
                "the disks take {needed} bytes, and the pool would have {}; nothing was changed",
                pool.available
            ))
            .on_host(ports.host.name())
            .of_object(format!("pool {}", pool.name)))
    }
}
