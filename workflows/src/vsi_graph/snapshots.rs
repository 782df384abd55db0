//! The nodes that take a snapshot of a VSI's disks, and restore them.

use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityId, Failure, Name, Text},
    step::Step as _,
};
use vsiflow_steps::{
    ports::VolumeKey,
    snapshot::{
        AwaitSnapshot, CheckMemory, CopySum, FindCopy, MergeLayers, RestoreBeside, RestoreDisks,
        SavedMemory, await_snapshot, check_memory, find_copy, restore_beside, restore_disks,
        restore_disks::DiskToRestore,
    },
    vsi::{CloneBootDisk, clone_boot_disk::BASE_IMAGE_NODE},
};

use super::{NewBootDisk, PresentBootDisk, VsiGraphBuilder, unnameable};
use crate::{
    nodes::Nodes,
    record::{SnapshotRecord, snapshot_entity},
    snapshot,
};

impl VsiGraphBuilder<'_> {
    /// Adds the run of the snapshot. The VSI's own run waits for it, so that nothing else changes the
    /// VSI at the same time.
    pub(crate) fn take_snapshot(
        &mut self,
        after: &[&str],
        uid: Uuid,
        record: &SnapshotRecord,
    ) -> Result<Vec<&'static str>, Failure> {
        let name = snapshot::NAME;
        self.nodes.entity(name, after, entity(uid)?, name, record)?;
        Ok(vec![name])
    }

    /// Adds `await_snapshot` → `merge_layers`: waits until nothing works on an abandoned snapshot, and
    /// removes its layers from the disks.
    pub(crate) fn drop_snapshot(
        &mut self,
        after: &[&str],
        uid: Uuid,
        record: &SnapshotRecord,
    ) -> Result<Vec<&'static str>, Failure> {
        drop_snapshot(&mut self.nodes, after, uid, record)
    }

    /// Adds the source of the first boot disk: the copy in a snapshot if there is one, else the image.
    pub(crate) fn first_image(&mut self, after: &[&str]) -> Result<(), Failure> {
        let Some(volume) = self.record.vsi.boot_disk.copy_of.clone() else {
            return self.base_image(after);
        };
        self.find_copy(after, volume, None)
    }

    /// Adds the look-up of a copy in a snapshot, in the place of the base image.
    fn find_copy(
        &mut self,
        after: &[&str],
        volume: VolumeKey,
        expected: Option<CopySum>,
    ) -> Result<(), Failure> {
        let params = find_copy::Params {
            host: self.host(),
            volume,
            expected,
        };
        let node = self.nodes.step::<FindCopy>(after, &params)?;
        node.name = Name::of(BASE_IMAGE_NODE);
        Ok(())
    }

    /// What becomes of the present boot disk if these disks are made beside the present ones.
    pub(crate) fn present_boot_disk(&self, disks: &[DiskToRestore]) -> PresentBootDisk {
        if disks.iter().any(|disk| disk.of.volume == self.boot) {
            PresentBootDisk::IsReplaced
        } else {
            PresentBootDisk::Stays
        }
    }

    /// Adds `find_copy` → `clone_boot_disk`, and `restore_beside`: disks beside the present ones, from their copies in
    /// a snapshot.
    pub(crate) fn restore_beside(
        &mut self,
        after: &[&str],
        disks: &[DiskToRestore],
    ) -> Result<Vec<&'static str>, Failure> {
        let (boot_disks, data_disks): (Vec<_>, Vec<_>) =
            disks.iter().partition(|disk| disk.of.volume == self.boot);
        let mut made = Vec::new();
        if !data_disks.is_empty() {
            let replaced = data_disks.iter().map(|disk| disk.of.volume.clone());
            self.replaced.extend(replaced.clone());
            self.replaced_data_disks.extend(replaced);
            let params = restore_beside::Params {
                host: self.host(),
                uuid: self.record.uid,
                disks: data_disks.into_iter().cloned().collect(),
            };
            self.step::<RestoreBeside>(after, &params)?;
            made.push(RestoreBeside::NAME);
        }
        if let Some(disk) = boot_disks.first() {
            self.find_copy(after, disk.of.copy.clone(), disk.expected.clone())?;
            self.clone_new(&[BASE_IMAGE_NODE], NewBootDisk::Restored)?;
            made.push(CloneBootDisk::NAME);
        }
        Ok(made)
    }

    /// Checks saved memory before the guest is shut down, so that nothing is lost if the memory does
    /// not fit.
    pub(crate) fn check_memory(
        &mut self,
        after: &[&'static str],
        memory: &SavedMemory,
        disks: &[DiskToRestore],
    ) -> Result<Vec<&'static str>, Failure> {
        let volumes = disks.iter().map(|disk| disk.of.volume.clone());
        let params = check_memory::Params {
            host: self.host(),
            uuid: self.record.uid,
            memory: memory.clone(),
            disks: volumes.collect(),
        };
        self.step::<CheckMemory>(after, &params)?;
        self.memory = Some(memory.clone());
        Ok(vec![CheckMemory::NAME])
    }

    /// Notes the disks that are restored: the guest is stopped for that only if it is ordered.
    pub(crate) fn note_restored(&mut self, disks: &[DiskToRestore]) {
        let volumes = disks.iter().map(|disk| disk.of.volume.clone());
        self.replaced.extend(volumes);
    }

    pub(crate) fn restore_disks(
        &mut self,
        after: &[&str],
        snapshot: &str,
        disks: Vec<DiskToRestore>,
    ) -> Result<Vec<&'static str>, Failure> {
        let for_memory = self.memory.is_some();
        let params = restore_disks::Params {
            host: self.host(),
            uuid: self.record.uid,
            snapshot: snapshot.to_owned(),
            disks,
            named: self.named(),
            for_memory,
        };
        self.step::<RestoreDisks>(after, &params)?;
        Ok(vec![RestoreDisks::NAME])
    }
}

/// [`VsiGraphBuilder::drop_snapshot`] for any graph of a VSI.
pub(crate) fn drop_snapshot(
    nodes: &mut Nodes,
    after: &[&str],
    uid: Uuid,
    record: &SnapshotRecord,
) -> Result<Vec<&'static str>, Failure> {
    let params = await_snapshot::Params {
        entity: entity(uid)?.to_string(),
        name: record.name.clone(),
    };
    // It contacts no host.
    let node = nodes.step::<AwaitSnapshot>(after, &params)?;
    (node.interruptible, node.lane) = (true, Text::default());
    nodes.step::<MergeLayers>(&[AwaitSnapshot::NAME], &snapshot::layers(record))?;
    Ok(vec![MergeLayers::NAME])
}

fn entity(uid: Uuid) -> Result<EntityId, Failure> {
    snapshot_entity(uid).map_err(unnameable)
}
