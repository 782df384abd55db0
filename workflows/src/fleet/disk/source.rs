//! Sources of data disks: snapshots and disks of the same namespace in this journal that a new disk is
//! copied from.

use std::collections::BTreeMap;

use uuid::Uuid;
use vsiflow_steps::{error, ports::VolumeKey};

use crate::fleet::{
    ErrorKind, Fleet, FleetError,
    disk::{
        known::KnownDisk,
        updates::{full_name, matching},
    },
};
use crate::{
    record::kind,
    spec::{DataDiskSource, DesiredDataDisk},
};

/// The new disks of one apply, by namespace and name, with their UIDs.
pub(in crate::fleet) struct NewDisks<'a>(BTreeMap<(&'a str, &'a str), (Uuid, &'a DesiredDataDisk)>);

impl<'a> NewDisks<'a> {
    /// Draws a UID for each new disk whose document has none.
    pub(in crate::fleet) fn of(disks: &'a [DesiredDataDisk], known: &[KnownDisk]) -> Self {
        let new = disks.iter().filter(|disk| matching(disk, known).is_none());
        let new = new.map(|disk| {
            let uid = disk.uid.unwrap_or_else(Uuid::new_v4);
            ((disk.namespace.as_str(), disk.name.as_str()), (uid, disk))
        });
        Self(new.collect())
    }

    /// The UID of a new disk.
    pub(in crate::fleet) fn uid(&self, disk: &DesiredDataDisk) -> Uuid {
        let found = self.0.get(&(disk.namespace.as_str(), disk.name.as_str()));
        found.map_or_else(Uuid::new_v4, |(uid, _)| *uid)
    }

    /// Whether a disk would have to wait for itself, because its sources form a cycle.
    fn is_circle(&self, disk: &DesiredDataDisk) -> bool {
        let (mut at, mut left) = (disk, self.0.len());
        while let Some(DataDiskSource::Disk { name }) = &at.source {
            if *name == disk.name {
                return true;
            }
            match self.0.get(&(disk.namespace.as_str(), name.as_str())) {
                Some((_, next)) if left > 0 => (at, left) = (next, left.saturating_sub(1)),
                Some(_) => return true,
                None => return false,
            }
        }
        false
    }
}

impl Fleet {
    /// The volume that a disk is to be copied from; `None` if it is not a copy.
    ///
    /// # Errors
    /// Blocked, `VSI0226`, if its namespace has no such snapshot or disk, or if that is not complete or is
    /// on another host.
    pub(in crate::fleet) async fn copied_volume(
        &self,
        disk: &DesiredDataDisk,
        new: &NewDisks<'_>,
    ) -> Result<Option<VolumeKey>, FleetError> {
        if disk.host.is_empty() {
            // A disk is not made before its documents name a host.
            return Ok(disk.copy_of.clone());
        }
        match &disk.source {
            None | Some(DataDiskSource::Image { .. }) => Ok(disk.copy_of.clone()),
            Some(DataDiskSource::Snapshot { name, disk: which }) => {
                self.snapshot_copy(disk, name, which).await.map(Some)
            }
            Some(DataDiskSource::Disk { name }) => self.other_disk(disk, name, new).await.map(Some),
        }
    }

    async fn snapshot_copy(
        &self,
        disk: &DesiredDataDisk,
        name: &str,
        which: &str,
    ) -> Result<VolumeKey, FleetError> {
        let found = self.find_snapshot(&disk.namespace, name, false).await;
        let snapshot = found.map_err(|error| match error.kind {
            ErrorKind::NotFound => refused(disk, &format!("there is no snapshot {name}")),
            _ => error,
        })?;
        if !snapshot.is_ready() {
            let phase = snapshot.phase();
            return Err(refused(disk, &format!("snapshot {name} is {phase}")));
        }
        same_host(disk, &snapshot.record.host)?;
        let own = [which.to_owned(), format!("{}/{which}", kind::DISK)];
        let disks = &snapshot.record.disks;
        let own_copy = disks.iter().find(|one| own.contains(&one.disk));
        own_copy.map(|one| one.copy.clone()).ok_or_else(|| {
            let all: Vec<_> = disks.iter().map(|one| one.disk.as_str()).collect();
            let all = all.join(", ");
            refused(
                disk,
                &format!("snapshot {name} has no disk {which}, but {all}"),
            )
        })
    }

    async fn other_disk(
        &self,
        disk: &DesiredDataDisk,
        name: &str,
        new: &NewDisks<'_>,
    ) -> Result<VolumeKey, FleetError> {
        if new.is_circle(disk) || name == disk.name {
            return Err(refused(disk, "it would be a copy of itself"));
        }
        let (uid, source) = match new.0.get(&(disk.namespace.as_str(), name)) {
            Some((uid, source)) => (*uid, (*source).clone()),
            None => {
                let found = self.find_disk(&disk.namespace, name, false).await;
                let known = found.map_err(|error| match error.kind {
                    ErrorKind::NotFound => refused(disk, &format!("there is no data disk {name}")),
                    _ => error,
                })?;
                if known.is_deleting() {
                    return Err(refused(disk, &format!("data disk {name} is being deleted")));
                }
                (known.uid, known.record.disk)
            }
        };
        same_host(disk, &source.host)?;
        Ok(VolumeKey {
            pool: source.pool,
            name: uid.to_string(),
        })
    }
}

fn same_host(disk: &DesiredDataDisk, host: &str) -> Result<(), FleetError> {
    if disk.host == host {
        Ok(())
    } else {
        Err(refused(disk, "it is on another host"))
    }
}

fn refused(disk: &DesiredDataDisk, why: &str) -> FleetError {
    let failure = error::DISK_SOURCE
        .failure(format!(
            "the data disk cannot be filled from its source: {why}"
        ))
        .of_object(format!("disk/{}", full_name(disk)))
        .on_host(&disk.host);
    FleetError::new(ErrorKind::Blocked, failure)
}
