//! The data disks of a VSI: their volumes, and the nodes that wait for and attach them.

use uuid::Uuid;
use vsiflow_engine::{
    model::{Failure, Text},
    step::Step as _,
};
use vsiflow_steps::{
    awaited::Awaited,
    ports::VolumeKey,
    vsi::{AttachDataDisks, AwaitDataDisks, attach_data_disks, await_data_disks},
};

use super::VsiGraphBuilder;
use crate::{
    formats,
    record::{VsiRecord, disk_entity},
    spec::{DesiredDisk, desired::DiskOrigin},
};

impl VsiGraphBuilder<'_> {
    /// Adds `await_data_disks` → `attach_data_disks`.
    pub(crate) fn data_disks(&mut self, after: &[&str]) -> Result<(), Failure> {
        let mut after = after.to_vec();
        if self.await_disks(&after)? {
            after.push(AwaitDataDisks::NAME);
        }
        let disks = self.record.vsi.disks.iter();
        let params = attach_data_disks::Params {
            host: self.host(),
            uuid: self.record.uid,
            disks: disks.map(|disk| self.attached(disk)).collect(),
        };
        self.step::<AttachDataDisks>(&after, &params)
    }

    fn attached(&self, disk: &DesiredDisk) -> attach_data_disks::Disk {
        let volume = volume(self.record, disk);
        attach_data_disks::Disk {
            name: disk.name.clone(),
            format: formats::of(&self.formats, &volume),
            volume,
            create: None,
            serial: None,
        }
    }

    /// Adds the node that waits for the runs that make and grow the disks, once for each graph. Returns
    /// whether there are any.
    pub(crate) fn await_disks(&mut self, after: &[&str]) -> Result<bool, Failure> {
        if self.nodes.has::<AwaitDataDisks>() {
            return Ok(true);
        }
        let record = self.record;
        let made = record.vsi.disks.iter().filter_map(|disk| {
            let uid = disk_uid(record, disk)?;
            Some(Awaited {
                entity: disk_entity(uid).ok()?.to_string(),
                name: disk.name.clone(),
            })
        });
        let params = await_data_disks::Params {
            disks: made.collect(),
        };
        if params.disks.is_empty() {
            return Ok(false);
        }
        // It contacts no host, and must not block the disks in the host's lane.
        let node = self.nodes.step::<AwaitDataDisks>(after, &params)?;
        (node.interruptible, node.lane) = (true, Text::default());
        Ok(true)
    }
}

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
