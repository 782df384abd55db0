//! Data disks as the journal has them.

use std::{collections::BTreeMap, sync::Arc};

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, EntityState};
use vsiflow_steps::{names, ports::VolumeKey};

use crate::fleet::{Fleet, index::Known};
use crate::{
    data_disk,
    phase::Phase,
    record::{DiskRecord, VsiRecord, disk_entity, disk_uid, kind},
};

/// The UIDs of data disks that are not deleted, by namespace and name.
pub(in crate::fleet) type DiskIds = BTreeMap<(String, String), Uuid>;

/// A data disk of the journal.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct KnownDisk {
    pub(in crate::fleet) entity: EntityId,
    pub(in crate::fleet) uid: Uuid,
    pub(in crate::fleet) state: Arc<EntityState>,
    pub(in crate::fleet) record: DiskRecord,
}

impl KnownDisk {
    pub(in crate::fleet) fn is_deleted(&self) -> bool {
        let recorded = self.state.state.as_ref().map(|(name, _)| name.as_str());
        recorded == Some(Phase::Deleted.as_str())
    }

    pub(in crate::fleet) fn is_deleting(&self) -> bool {
        [data_disk::DELETE, data_disk::FORGET].contains(&self.workflow())
    }

    /// Whether its desired state was reached once: its content may be a user's since then. A disk that was
    /// deleted and is requested again does not count as made.
    pub(in crate::fleet) fn is_made(&self) -> bool {
        let desired = self.state.desired.as_ref();
        let newest = desired.is_some_and(|desired| self.state.reached >= desired.generation);
        self.record.made || newest
    }

    /// Whether its deletion is requested, with its volume, and not done.
    pub(in crate::fleet) fn is_being_destroyed(&self) -> bool {
        self.workflow() == data_disk::DELETE && !self.is_deleted()
    }

    pub(super) fn workflow(&self) -> &str {
        let desired = self.state.desired.as_ref();
        desired.map_or("", |desired| desired.workflow.as_str())
    }

    /// Whether an earlier version recorded it and left its volume to the runs of VSIs.
    pub(in crate::fleet) fn is_legacy(&self) -> bool {
        self.workflow() == kind::DISK
    }

    pub(super) fn is_named(&self, namespace: &str, name: &str) -> bool {
        let disk = &self.record.disk;
        disk.namespace == namespace && (disk.name == name || self.entity.id() == name)
    }

    /// The sort key in lists: namespace and name.
    pub(super) fn place(&self) -> (&str, &str) {
        let disk = &self.record.disk;
        (&disk.namespace, &disk.name)
    }

    /// The volume that it is now.
    pub(in crate::fleet) fn volume(&self) -> VolumeKey {
        let first = data_disk::first_volume(&self.record.disk, &self.entity);
        data_disk::current_volume(&first, &self.state.objects)
    }

    /// All its volumes that may exist, the one that it is now first.
    pub(in crate::fleet) fn volumes(&self) -> Vec<VolumeKey> {
        data_disk::volumes(&self.record.disk, &self.entity, &self.state.objects)
    }

    pub(in crate::fleet) fn is_used_by(&self, vsi: &Known) -> bool {
        uids_of(vsi).any(|uid| uid == self.uid)
    }
}

impl Fleet {
    /// The volumes that the data disks of a VSI are now.
    pub(in crate::fleet) fn present_volumes(&self, record: &VsiRecord) -> Vec<VolumeKey> {
        let volumes = record.volumes().into_iter();
        volumes.map(|first| self.present_volume(first)).collect()
    }

    fn present_volume(&self, first: VolumeKey) -> VolumeKey {
        let disk = names::numbered_data_disk(&first.name);
        let entity = disk.and_then(|(uid, _)| disk_entity(uid).ok());
        match entity.and_then(|entity| self.engine.entity(&entity)) {
            Some(state) => data_disk::current_volume(&first, &state.objects),
            None => first,
        }
    }
}

/// The UIDs of the data disks of a VSI that vsiflow makes.
pub(super) fn uids_of(vsi: &Known) -> impl Iterator<Item = Uuid> {
    let disks = vsi.record.vsi.disks.iter();
    disks.filter_map(|disk| disk_uid(&vsi.record, disk))
}
