//! Reserved volumes: those that no document may name as its data disk.

use vsiflow_engine::model::Failure;
use vsiflow_steps::{error, names};

use crate::fleet::{ErrorKind, Fleet, FleetError};
use crate::{
    record::{DiskRecord, disk_entity},
    spec::{DesiredDisk, DesiredVsi, desired::DiskOrigin},
};

impl Fleet {
    /// Refuses a VSI whose data disk is a volume that vsiflow reserves for itself, or the data disk of
    /// another namespace, deleted or not, or that has one volume as two of its disks. Base images, and one file
    /// under two names, can only be recognised on the host, and are refused there.
    ///
    /// # Errors
    /// Blocked, `VSI0219`; when the journal cannot be read.
    pub(in crate::fleet) async fn refuse_reserved(
        &self,
        vsi: &DesiredVsi,
    ) -> Result<(), FleetError> {
        for disk in &vsi.disks {
            let DiskOrigin::Existing { volume } = &disk.source else {
                continue;
            };
            if names::is_reserved(volume) {
                let why = "vsiflow reserves it for itself";
                return Err(refused(vsi, volume, why));
            }
            if self.is_of_another(&vsi.namespace, volume).await? {
                let why = "it is the data disk of another namespace";
                return Err(refused(vsi, volume, why));
            }
            if self.is_another_disk(vsi, disk, volume).await? {
                let why = "another disk of this VSI is the same volume";
                return Err(refused(vsi, volume, why));
            }
        }
        Ok(())
    }

    /// Whether another disk of the VSI is this volume of the disk's pool.
    async fn is_another_disk(
        &self,
        vsi: &DesiredVsi,
        disk: &DesiredDisk,
        volume: &str,
    ) -> Result<bool, FleetError> {
        let others = vsi.disks.iter().filter(|other| other.name != disk.name);
        for other in others.filter(|other| other.pool == disk.pool) {
            let is_same = match &other.source {
                DiskOrigin::Existing { volume: another } => another == volume,
                DiskOrigin::Made { uid: Some(uid), .. } => names::is_of_data_disk(volume, *uid),
                DiskOrigin::Made { uid: None, .. } => {
                    match self.disks().find(&vsi.namespace, &other.name).await {
                        Ok(entity) => entity
                            .id()
                            .parse()
                            .is_ok_and(|uid| names::is_of_data_disk(volume, uid)),
                        Err(error) if error.kind == ErrorKind::NotFound => false,
                        Err(error) => return Err(error),
                    }
                }
            };
            if is_same {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the volume is the data disk of another namespace: the volumes of a data disk are named by the
    /// disk's UID.
    async fn is_of_another(&self, namespace: &str, volume: &str) -> Result<bool, FleetError> {
        let entity = names::numbered_data_disk(volume);
        let entity = entity.and_then(|(uid, _)| disk_entity(uid).ok());
        let Some(state) = entity.and_then(|entity| self.engine.entity(&entity)) else {
            return Ok(false);
        };
        let record = self.read_record::<DiskRecord>(&state).await?;
        Ok(record.is_some_and(|record| record.disk.namespace != namespace))
    }
}

fn refused(vsi: &DesiredVsi, volume: &str, why: &str) -> FleetError {
    let failure: Failure = error::RESERVED_VOLUME
        .failure(format!("volume {volume} cannot be a data disk: {why}"))
        .on_host(&vsi.host)
        .of_object(format!("vsi/{}", vsi.full_name()));
    FleetError::new(ErrorKind::Blocked, failure)
}
