//! Exports disks: a data disk that nothing writes to, or a disk of a snapshot.

use std::sync::Arc;

use bytes::Bytes;
use vsiflow_engine::model::{Failure, Hash};
use vsiflow_steps::{
    error, guards,
    ports::{DomainInfo, Hosts, VolumeInfo, VolumeKey},
};

use crate::fleet::{DiskHandle, ErrorKind, Fleet, FleetError};
use crate::{data_disk, record::kind};

/// A disk that is being exported. It does not hold the fleet.
pub struct DiskToExport {
    hosts: Arc<dyn Hosts>,
    host: String,
    volume: VolumeInfo,
    object: String,
}

impl DiskHandle<'_> {
    /// Opens a data disk by its name, or a disk of a snapshot as `snapshot/SNAPSHOT/DISK`.
    ///
    /// # Errors
    /// `VSI0703` if there is no such disk, `VSI0226` if it is not complete, `VSI0228` if something may
    /// write to it; any other error of its host.
    pub async fn to_export(self, namespace: &str, name: &str) -> Result<DiskToExport, FleetError> {
        let snapshot = name.strip_prefix("snapshot/");
        let (host, key) = match snapshot.and_then(|rest| rest.split_once('/')) {
            Some((snapshot, disk)) => self.fleet.copy_to_export(namespace, snapshot, disk).await?,
            None => self.fleet.data_disk_to_export(namespace, name).await?,
        };
        let object = match snapshot {
            Some(_) => name.to_owned(),
            None => format!("{}/{name}", kind::DISK),
        };
        let ports = self.fleet.hosts.host(&host).await.map_err(Failure::from)?;
        let found = ports.storage.volume(&key).await.map_err(Failure::from)?;
        let volume = found.ok_or_else(|| {
            let missing = error::MISSING.failure("the disk is not there");
            FleetError::from(missing.on_host(&host).of_object(format!("volume {key}")))
        })?;
        let disk = DiskToExport {
            hosts: self.fleet.hosts.clone(),
            host,
            volume,
            object,
        };
        disk.unchanged().await.map(|()| disk)
    }
}

impl Fleet {
    async fn copy_to_export(
        &self,
        namespace: &str,
        snapshot: &str,
        disk: &str,
    ) -> Result<(String, VolumeKey), FleetError> {
        let found = self.find_snapshot(namespace, snapshot, false).await?;
        let own = [disk.to_owned(), format!("{}/{disk}", kind::DISK)];
        let copy = found.record.disks.iter().find(|d| own.contains(&d.disk));
        let copy = copy.filter(|_| found.is_ready());
        let copy = copy.ok_or_else(|| {
            let phase = found.phase();
            let message = format!("snapshot {snapshot} is {phase}, or has no disk {disk}");
            refused(&message).of_object(format!("snapshot/{snapshot}"))
        });
        let copy = copy.map_err(|failure| FleetError::new(ErrorKind::Blocked, failure))?;
        Ok((found.record.host.clone(), copy.copy.clone()))
    }

    async fn data_disk_to_export(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(String, VolumeKey), FleetError> {
        let name = name.strip_prefix("disk/").unwrap_or(name);
        let known = self.find_disk(namespace, name, false).await?;
        if !known.is_made() && !known.is_legacy() {
            let failure = refused("the data disk is not made yet");
            let failure = failure.of_object(format!("{}/{name}", kind::DISK));
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        let disk = &known.record.disk;
        Ok((disk.host.clone(), data_disk::volume(disk, &known.entity)))
    }
}

fn refused(message: &str) -> Failure {
    let remedy =
        "wait until it is Ready (`vsiflow get disks`, `vsiflow get snapshots`), or name another";
    error::DISK_SOURCE.failure(message).with_remedy(remedy)
}

impl DiskToExport {
    /// The length of its file, in bytes.
    pub fn length(&self) -> u64 {
        self.volume.physical
    }

    /// The format of its file, as the host names it.
    pub fn format(&self) -> &str {
        &self.volume.format
    }

    /// A text that stays the same as long as nothing writes to the disk.
    pub fn state(&self) -> String {
        let modified = self.volume.modified.as_deref().unwrap_or_default();
        format!("{} {} {modified}", self.volume.path, self.volume.physical)
    }

    /// At most `max` bytes of its file from `offset` on.
    ///
    /// # Errors
    /// Any error of the host.
    pub async fn read(&self, offset: u64, max: u64) -> Result<Bytes, FleetError> {
        let ports = self.hosts.host(&self.host).await.map_err(Failure::from)?;
        let read = ports.storage.read(&self.volume.key, offset, max).await;
        Ok(read.map_err(Failure::from)?)
    }

    /// The SHA-256 of its file, which the host computes.
    ///
    /// # Errors
    /// Any error of the host.
    pub async fn sha256(&self) -> Result<Hash, FleetError> {
        let ports = self.hosts.host(&self.host).await.map_err(Failure::from)?;
        let hash = ports.storage.sha256(&self.volume.key).await;
        Ok(hash.map_err(Failure::from)?)
    }

    /// Checks that nothing wrote to the disk since it was opened, and that no active or saved guest has it.
    ///
    /// # Errors
    /// `VSI0228` if the check fails; any other error of the host.
    pub async fn unchanged(&self) -> Result<(), FleetError> {
        let ports = self.hosts.host(&self.host).await.map_err(Failure::from)?;
        let domains = ports.domains.domains().await.map_err(Failure::from)?;
        let busy = |domain: &&DomainInfo| domain.state.is_active() || domain.saved;
        let busy: Vec<_> = domains.iter().filter(busy).collect();
        let users = guards::users(&ports, &busy, &self.volume, &[]).await?;
        if let Some(user) = users.first() {
            let title = user.title.as_ref().unwrap_or(&user.name);
            return Err(self.in_use(&format!("domain {title} has it")));
        }
        let key = &self.volume.key;
        let now = ports.storage.volume(key).await.map_err(Failure::from)?;
        if now.as_ref() == Some(&self.volume) {
            Ok(())
        } else {
            Err(self.in_use("it changed in the meantime"))
        }
    }

    fn in_use(&self, why: &str) -> FleetError {
        let failure = error::DISK_SOURCE_IN_USE
            .failure(format!("the disk is in use: {why}"))
            .on_host(&self.host)
            .of_object(&self.object)
            .with_remedy(
                "stop its VSI and run the command again, or take a snapshot and export \
                 snapshot/SNAPSHOT/DISK",
            );
        FleetError::new(ErrorKind::Blocked, failure)
    }
}
