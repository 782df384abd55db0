//! Finds the data disks of the VSI, and creates missing ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    disk::format,
    error,
    guards::{self, own_disks},
    image::sidecar,
    names, ownership,
    ports::{
        DomainInfo, HostPorts, Hosts, PortErrorKind, VolumeFormat, VolumeInfo, VolumeKey,
        VolumeSpec,
    },
};

/// Maximum length of a serial that a virtio disk can show.
pub const SERIAL_MAX: usize = 20;

/// Finds every disk: the volume that it is now, if restorations made others. It refuses a disk that another VSI has,
/// running or not, that any other guest writes to, that has a snapshot's layer over it, or that is not of the format it
/// was first attached with. It refuses a VSI whose guest writes to a file that this journal does not name.
/// Missing disks are created if an older version left that to this step.
///
/// An existing disk is never made again: its content belongs to the user. A crash during the step leaves
/// some disks created; the next attempt finds and uses them.
pub struct AttachDataDisks {
    hosts: Arc<dyn Hosts>,
}

/// Parameters of [`AttachDataDisks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The host's ID.
    pub host: String,
    /// The VSI's UID: its own domain may use the disks.
    pub uuid: Uuid,
    /// The disks, in the order the guest gets them.
    pub disks: Vec<Disk>,
    /// Every volume that this journal names, or has named, as a disk that the VSI writes to: its present
    /// definition may have no other. Not checked if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<VolumeKey>,
}

/// A data disk of the VSI.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// The disk's name for people.
    pub name: String,
    /// The volume.
    pub volume: VolumeKey,
    /// How to create it if it is missing; `None` for a reference, which must exist.
    #[serde(default)]
    pub create: Option<Create>,
    /// The serial by which the guest finds it; derived from its name if `None`.
    #[serde(default)]
    pub serial: Option<String>,
    /// The format that this journal recorded when the disk was first attached.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<VolumeFormat>,
}

/// How to create a data disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Create {
    /// The size the guest sees, in bytes.
    pub size: u64,
    /// The format.
    pub format: VolumeFormat,
    /// Whether this journal made the volume before (for another VSI, for example).
    #[serde(default)]
    pub recorded: bool,
}

/// What [`AttachDataDisks`] found and made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// The disks, in the order of the parameters.
    pub disks: Vec<Attached>,
}

/// A data disk as the domain uses it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The path on the host.
    pub path: String,
    /// The format it was first attached with.
    pub format: VolumeFormat,
    /// The serial by which the guest finds it.
    pub serial: String,
    /// The volume by which the journal names the disk; `None` if an older version wrote this.
    #[serde(default)]
    pub volume: Option<VolumeKey>,
    /// The volume that the disk is now, if that is another: a restoration made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<VolumeKey>,
}

impl Attached {
    /// The volume that the disk is now.
    pub fn present(&self) -> Option<&VolumeKey> {
        self.present.as_ref().or(self.volume.as_ref())
    }
}

impl AttachDataDisks {
    /// The step, acting through these hosts.
    pub fn new(hosts: Arc<dyn Hosts>) -> Self {
        Self { hosts }
    }
}

#[async_trait]
impl Step for AttachDataDisks {
    const NAME: &'static str = "attach_data_disks";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = own_domain(cx, &ports, params).await?;
        let mut volumes = Vec::new();
        for disk in &params.disks {
            let key = present_volume(cx, domain.as_ref(), disk);
            match inspect(cx, &ports, disk, &key).await? {
                Some(volume) => volumes.push(volume),
                None => return Ok(Observed::Needed),
            }
        }
        Ok(Observed::Present(
            gather(cx, &ports, params, volumes).await?,
        ))
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        let ports = self.hosts.host(&params.host).await?;
        let domain = own_domain(cx, &ports, params).await?;
        let mut volumes = Vec::new();
        for disk in &params.disks {
            let key = present_volume(cx, domain.as_ref(), disk);
            volumes.push(match inspect(cx, &ports, disk, &key).await? {
                Some(volume) => volume,
                None => make(&ports, disk).await?,
            });
        }
        Ok(Done::created(gather(cx, &ports, params, volumes).await?))
    }
}

/// The VSI's own domain, if a disk may be another volume than its journal says.
async fn own_domain(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
) -> Result<Option<DomainInfo>, Failure> {
    let is_unsure = |disk: &Disk| guards::nameable_volumes(cx, &disk.volume).len() > 1;
    if !params.disks.iter().any(is_unsure) {
        return Ok(None);
    }
    ownership::own_domain(cx, ports, params.uuid).await
}

/// The volume that the disk is now. A definition that names a newer one was written by a run that ended before it could
/// record that; the guest may have written to it since.
fn present_volume(cx: &StepContext, domain: Option<&DomainInfo>, disk: &Disk) -> VolumeKey {
    let disks = || domain.into_iter().flat_map(|domain| &domain.stored.disks);
    let is_defined = |key: &VolumeKey| disks().any(|shape| shape.is_called(&key.name));
    let mut nameable = guards::nameable_volumes(cx, &disk.volume).into_iter();
    let defined = nameable.find(is_defined);
    defined.unwrap_or_else(|| guards::current_volume(cx, &disk.volume))
}

/// The volume; `None` if it is missing and this step has to create it.
async fn inspect(
    cx: &StepContext,
    ports: &HostPorts,
    disk: &Disk,
    key: &VolumeKey,
) -> Result<Option<VolumeInfo>, Failure> {
    match (ports.storage.volume(key).await?, &disk.create) {
        (Some(_), Some(create)) if !create.recorded && !cx.intended_before => {
            Err(guards::not_ours(ports, key))
        }
        (Some(volume), _) => Ok(Some(volume)),
        (None, Some(_)) if *key == disk.volume => Ok(None),
        (None, _) => Err(error::MISSING
            .failure(format!(
                "the volume of data disk {} is not there",
                disk.name
            ))
            .on_host(ports.host.name())
            .of_object(format!("volume {key}"))),
    }
}

async fn make(ports: &HostPorts, disk: &Disk) -> Result<VolumeInfo, Failure> {
    let create = disk.create.as_ref();
    let spec = VolumeSpec {
        key: disk.volume.clone(),
        format: create.map_or(VolumeFormat::Qcow2, |create| create.format),
        capacity: create.map_or(0, |create| create.size),
        backing: None,
    };
    ports
        .storage
        .create(&spec)
        .await
        .map_err(|error| match error.kind {
            PortErrorKind::Exists => guards::not_ours(ports, &disk.volume),
            _ => error.into(),
        })
}

async fn gather(
    cx: &StepContext,
    ports: &HostPorts,
    params: &Params,
    volumes: Vec<VolumeInfo>,
) -> Result<Output, Failure> {
    let attached_volumes: Vec<_> = volumes.iter().collect();
    let listed = if attached_volumes.is_empty() {
        Vec::new()
    } else {
        guards::active_volumes(ports).await?
    };
    guards::over(cx, ports, &attached_volumes, &listed).await?;
    let domains = ports.domains.domains().await?;
    if let Some(domain) = domains.iter().find(|domain| domain.uuid == params.uuid) {
        own_disks::writes_only_to(cx, ports, domain, &params.named).await?;
    }
    refuse_same_file(ports, &params.disks, &volumes)?;
    let host = HostObjects { domains, listed };
    let mut disks = Vec::new();
    let requested = params.disks.iter().zip(serials(&params.disks));
    for (volume, (disk, serial)) in volumes.into_iter().zip(requested) {
        not_reserved(ports, &volume).await?;
        guards::is_whole_disk(cx, ports, &volume.key)?;
        guards::is_newest_known(cx, ports, &disk.volume, &host.listed)?;
        host.unused(cx, ports, params.uuid, &volume).await?;
        let pinned = disk.format.or_else(|| defined(&host.domains, &volume));
        let format = format::pinned(ports, &volume, pinned).await?;
        disks.push(Attached {
            path: volume.path,
            format,
            serial,
            volume: Some(disk.volume.clone()),
            present: Some(volume.key).filter(|key| *key != disk.volume),
        });
    }
    Ok(Output { disks })
}

/// Refuses two disks that are one file: the guest would write to it by both.
fn refuse_same_file(
    ports: &HostPorts,
    disks: &[Disk],
    volumes: &[VolumeInfo],
) -> Result<(), Failure> {
    let mut names = BTreeMap::new();
    for (disk, volume) in disks.iter().zip(volumes) {
        if let Some(other_name) = names.insert(&volume.path, &disk.name) {
            let why = format!("disk {other_name} of this VSI is the same file");
            return Err(reserved(ports, &volume.key, &why));
        }
    }
    Ok(())
}

/// Refuses volumes that vsiflow reserves: a guest that writes to a base image or its sidecar controls
/// what others boot.
async fn not_reserved(ports: &HostPorts, volume: &VolumeInfo) -> Result<(), Failure> {
    let key = &volume.key;
    let reason = if names::is_reserved(&key.name) {
        "vsiflow reserves it for itself"
    } else {
        match sidecar::read(ports, "", key).await? {
            None => return Ok(()),
            Some(beside) if beside.is_of_disk(key) => return Ok(()),
            Some(_) => "it is a base image, which others boot from",
        }
    };
    Err(reserved(ports, key, reason))
}

fn reserved(ports: &HostPorts, key: &VolumeKey, why: &str) -> Failure {
    error::RESERVED_VOLUME
        .failure(format!("the volume cannot be a data disk: {why}"))
        .on_host(ports.host.name())
        .of_object(format!("volume {key}"))
}

/// The disk's format in the definition of this or another VSI.
fn defined(domains: &[DomainInfo], volume: &VolumeInfo) -> Option<VolumeFormat> {
    let ours = domains.iter().filter(|domain| domain.mark.is_some());
    ours.filter_map(|domain| format::defined(domain, &volume.path))
        .next()
}

/// What a host has, read once.
struct HostObjects {
    domains: Vec<DomainInfo>,
    /// The volumes of its active pools.
    listed: Vec<VolumeInfo>,
}

impl HostObjects {
    async fn unused(
        &self,
        cx: &StepContext,
        ports: &HostPorts,
        own: Uuid,
        volume: &VolumeInfo,
    ) -> Result<(), Failure> {
        // Includes VSIs of any vsiflow that are off: they would write to the disk once they are started.
        let may_write = |domain: &DomainInfo| domain.state.is_active() || domain.mark.is_some();
        let possible_users: Vec<&DomainInfo> = (self.domains.iter())
            .filter(|domain| domain.uuid != own && may_write(domain))
            .collect();
        let users = guards::users(ports, &possible_users, volume, &self.listed).await?;
        let Some(user) = users.first() else {
            return Ok(());
        };
        let holds = if user.domain.state.is_active() {
            "runs and has it"
        } else {
            "is off, and has it"
        };
        let why = format!("{} {holds}", ownership::called(cx, user.domain));
        Err(guards::in_use(ports, volume, &why))
    }
}

/// One unique serial for each disk.
fn serials(disks: &[Disk]) -> Vec<String> {
    let mut used_serials = BTreeSet::new();
    let serial = |(index, disk): (usize, &Disk)| {
        let desired = plain(disk.serial.as_deref().unwrap_or(&disk.name));
        let free = !desired.is_empty() && used_serials.insert(desired.clone());
        if free {
            desired
        } else {
            format!("data-{index}")
        }
    };
    disks.iter().enumerate().map(serial).collect()
}

fn plain(text: &str) -> String {
    let fits = |c: &char| c.is_ascii_alphanumeric() || "_.-".contains(*c);
    text.chars().filter(fits).take(SERIAL_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_short_plain_and_unique() {
        let disk = |name: &str| Disk {
            name: name.to_owned(),
            volume: VolumeKey {
                pool: "p".to_owned(),
                name: name.to_owned(),
            },
            create: None,
            serial: None,
            format: None,
        };
        let long = "a-name-that-is-much-longer-than-that";
        let disks = [disk(long), disk(&format!("{long}2")), disk("ü"), disk("db")];
        let expected = ["a-name-that-is-much-", "data-1", "data-2", "db"];
        assert_eq!(serials(&disks), expected);
    }
}
