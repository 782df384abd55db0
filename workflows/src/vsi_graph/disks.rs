//! The data disks of a VSI: their volumes, and the nodes that wait for and attach them.

use vsiflow_engine::{
    model::{Failure, Objects, Text},
    step::Step as _,
};
use vsiflow_steps::{
    awaited::Awaited,
    ports::VolumeKey,
    vsi::{AttachDataDisks, AwaitDataDisks, attach_data_disks, await_data_disks},
};

use super::{BootDisks, VsiGraphBuilder};
use crate::{
    formats,
    record::{DiskFormat, VsiRecord, disk_entity, disk_uid, volume},
    spec::DesiredDisk,
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
            named: self.named(),
        };
        self.step::<AttachDataDisks>(&after, &params)
    }

    /// The volumes that the guest may write to.
    pub(super) fn named(&self) -> Vec<VolumeKey> {
        let mut named = named_volumes(self.record, self.objects, &self.formats);
        if !named.is_empty() && !named.contains(&self.boot) {
            named.push(self.boot.clone());
        }
        named
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

/// Every volume that this journal names, or has named, as a disk that the guest writes to; `formats` has
/// those that were attached. Empty if the VSI was adopted with volumes that vsiflow did not name.
pub(crate) fn named_volumes(
    record: &VsiRecord,
    objects: &Objects,
    formats: &[DiskFormat],
) -> Vec<VolumeKey> {
    let adopted = record.adopted.as_ref();
    if adopted.is_some_and(|adopted| !adopted.own_volumes) {
        return Vec::new();
    }
    let before = record.before.iter().map(|inputs| &inputs.vsi);
    let mut named = BootDisks::of(record, objects).all();
    for vsi in std::iter::once(&record.vsi).chain(before) {
        named.extend(vsi.disks.iter().map(|disk| volume(record, disk)));
    }
    named.extend(formats.iter().map(|known| known.volume.clone()));
    named.sort();
    named.dedup();
    named
}
