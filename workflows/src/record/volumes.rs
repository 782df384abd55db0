//! The volumes of a VSI's data disks.

use uuid::Uuid;
use vsiflow_steps::ports::VolumeKey;

use super::{PreviousInputs, VsiRecord};
use crate::spec::{DesiredDisk, desired::DiskOrigin};

/// The volume of a data disk.
pub(crate) fn volume(record: &VsiRecord, disk: &DesiredDisk) -> VolumeKey {
    let name = match &disk.source {
        DiskOrigin::Existing { volume } => volume.clone(),
        DiskOrigin::Made { .. } => disk_uid(record, disk).unwrap_or_default().to_string(),
    };
    let pool = disk.pool.clone();
    VolumeKey { pool, name }
}

/// The UID of a disk that vsiflow makes.
pub(crate) fn disk_uid(record: &VsiRecord, disk: &DesiredDisk) -> Option<Uuid> {
    match &disk.source {
        DiskOrigin::Existing { .. } => None,
        DiskOrigin::Made { uid, .. } => record.disks.get(&disk.name).copied().or(*uid),
    }
}

impl VsiRecord {
    /// The volumes of its data disks, in order.
    pub(crate) fn volumes(&self) -> Vec<VolumeKey> {
        let disks = self.vsi.disks.iter();
        disks.map(|disk| volume(self, disk)).collect()
    }
}

impl PreviousInputs {
    /// The volumes of data disks that vsiflow did not make, in order; made ones have an empty name.
    pub(crate) fn volumes(&self) -> Vec<VolumeKey> {
        let disks = self.vsi.disks.iter();
        disks
            .map(|disk| VolumeKey {
                pool: disk.pool.clone(),
                name: match &disk.source {
                    DiskOrigin::Existing { volume } => volume.clone(),
                    DiskOrigin::Made { .. } => String::new(),
                },
            })
            .collect()
    }
}
