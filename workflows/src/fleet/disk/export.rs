//! Exports disks: a data disk that nothing writes to, or a disk of a snapshot.

use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;
use vsiflow_engine::{
    model::{EntityId, Failure, Hash},
    step::StepContext,
};
use vsiflow_steps::{
    error, guards,
    guards::own_disks,
    host_text, ownership,
    ports::{DomainInfo, HostPorts, Hosts, VolumeInfo, VolumeKey},
};

use super::known::KnownDisk;
use crate::fleet::{DiskHandle, ErrorKind, Fleet, FleetError};
use crate::{record::kind, vsi_graph};

/// A disk that is being exported. It does not hold the fleet.
pub struct DiskToExport {
    hosts: Arc<dyn Hosts>,
    question: StepContext,
    host: String,
    volume: VolumeInfo,
    object: String,
    /// The VSIs that have it.
    users: Vec<DiskUser>,
}

/// A VSI that has a disk.
struct DiskUser {
    uid: Uuid,
    /// Every volume that its guest may write to.
    named: Vec<VolumeKey>,
}

impl DiskHandle<'_> {
    /// Opens a data disk by its name, or a disk of a snapshot as `snapshot/SNAPSHOT/DISK`.
    ///
    /// # Errors
    /// `VSI0703` if there is no such disk, `VSI0226` if it is not complete, `VSI0228` if something may
    /// write to it; any other error of its host.
    pub async fn to_export(self, namespace: &str, name: &str) -> Result<DiskToExport, FleetError> {
        let snapshot = name.strip_prefix("snapshot/");
        let mut users = Vec::new();
        let (entity, host, key) = match snapshot.and_then(|rest| rest.split_once('/')) {
            Some((snapshot, disk)) => self.fleet.copy_to_export(namespace, snapshot, disk).await?,
            None => {
                let known = self.fleet.data_disk_to_export(namespace, name).await?;
                users = self.fleet.users_of_disk(&known).await?;
                let disk = &known.record.disk;
                (known.entity.clone(), disk.host.clone(), known.volume())
            }
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
        let journal_id = self.fleet.journal_id.clone();
        let disk = DiskToExport {
            hosts: self.fleet.hosts.clone(),
            question: self.fleet.engine.question(entity, journal_id),
            host,
            volume,
            object,
            users,
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
    ) -> Result<(EntityId, String, VolumeKey), FleetError> {
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
        Ok((
            found.entity.clone(),
            found.record.host.clone(),
            copy.copy.clone(),
        ))
    }

    async fn data_disk_to_export(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<KnownDisk, FleetError> {
        let name = name.strip_prefix("disk/").unwrap_or(name);
        let known = self.find_disk(namespace, name, false).await?;
        if !known.is_made() && !known.is_legacy() {
            let failure = refused("the data disk is not made yet");
            let failure = failure.of_object(format!("{}/{name}", kind::DISK));
            return Err(FleetError::new(ErrorKind::Blocked, failure));
        }
        Ok(known)
    }

    /// The VSIs that have the disk.
    async fn users_of_disk(&self, disk: &KnownDisk) -> Result<Vec<DiskUser>, FleetError> {
        let Ok(uid) = disk.entity.id().parse() else {
            return Ok(Vec::new());
        };
        let mut users = Vec::new();
        for vsi in self.known_with(uid).await? {
            if !vsi.is_deleted() {
                let formats = self.formats(&vsi).await?;
                users.push(DiskUser {
                    uid: vsi.record.uid,
                    named: vsi_graph::named_volumes(&vsi.record, &vsi.state.objects, &formats),
                });
            }
        }
        Ok(users)
    }
}

fn title(domain: &DomainInfo) -> &str {
    domain.title.as_ref().unwrap_or(&domain.name)
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

    /// Checks that the disk is the file that the journal recorded, that nothing wrote to it since it was opened, that
    /// no active or saved guest has it, that nothing is a layer over it, and that no guest of its VSIs writes to another
    /// file instead.
    ///
    /// # Errors
    /// `VSI0228` if the check fails; `VSI0236` if it is another file; `VSI0211` if the host shows that the journal is an
    /// older copy, since the disk may have another file by now; any other error of the host.
    pub async fn unchanged(&self) -> Result<(), FleetError> {
        let ports = self.hosts.host(&self.host).await.map_err(Failure::from)?;
        let domains = ports.domains.domains().await.map_err(Failure::from)?;
        ownership::none_ahead(&self.question, &ports, &domains)?;
        guards::is_whole_disk(&self.question, &ports, &self.volume.key)?;
        guards::is_the_recorded(&self.question, &ports, &self.volume).await?;
        self.unlayered(&ports, &domains).await?;
        for DiskUser { uid, named } in &self.users {
            let Some(domain) = domains.iter().find(|domain| domain.uuid == *uid) else {
                continue;
            };
            if let Some(file) =
                own_disks::foreign_file(&self.question, &ports, domain, named).await?
            {
                let title = title(domain);
                return Err(self.in_use(&format!("domain {title} may write to {file} instead")));
            }
        }
        let key = &self.volume.key;
        let now = ports.storage.volume(key).await.map_err(Failure::from)?;
        if now.as_ref() == Some(&self.volume) {
            Ok(())
        } else {
            Err(self.in_use("it changed in the meantime"))
        }
    }

    /// Checks that no active or saved guest has the disk, and that nothing is a layer over it.
    async fn unlayered(&self, ports: &HostPorts, domains: &[DomainInfo]) -> Result<(), FleetError> {
        let all: Vec<_> = domains.iter().collect();
        let listed = guards::active_volumes(ports).await?;
        for user in guards::users(ports, &all, &self.volume, &listed).await? {
            let title = title(user.domain);
            if let Some(layer) = &user.layer {
                let why = format!("domain {title} has {layer}, a layer over it");
                return Err(self.in_use(&why));
            }
            if user.domain.state.is_active() || user.domain.saved {
                return Err(self.in_use(&format!("domain {title} has it")));
            }
        }
        match guards::layer_over(ports, &[&self.volume], &listed).await? {
            None => Ok(()),
            Some(layer) => Err(self.in_use(&layer.why)),
        }
    }

    fn in_use(&self, why: &str) -> FleetError {
        let failure = error::DISK_SOURCE_IN_USE
            .failure(format!("the disk is in use: {}", host_text::shown(why)))
            .on_host(&self.host)
            .of_object(&self.object)
            .with_remedy(
                "stop its VSI and run the command again, or take a snapshot and export \
                 snapshot/SNAPSHOT/DISK",
            );
        FleetError::new(ErrorKind::Blocked, failure)
    }
}
