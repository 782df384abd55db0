//! The inventory of a host: every domain and volume on it, and who owns each.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_steps::{
    image::sidecar,
    ports::{DiskSource, DomainInfo, DomainState, HostPorts, VolumeInfo, VolumeKey},
};

use crate::fleet::{
    FleetError, HostHandle, disk::known::KnownDisk, index::Known, snapshot::known::KnownSnapshot,
};
use crate::{record::kind, spec::HostSettings, vsi_graph};

/// The owner of a domain or a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Owner {
    /// This journal.
    Owned,
    /// vsiflow made it, but this journal does not manage it: it was forgotten, or its VSI is deleted.
    Orphaned,
    /// Another journal.
    OtherJournal,
    /// Anything other than vsiflow.
    Foreign,
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Owned => "Owned",
            Self::Orphaned => "Orphaned",
            Self::OtherJournal => "OtherJournal",
            Self::Foreign => "Foreign",
        })
    }
}

/// A domain or a volume on a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InventoryItem {
    /// `domain` or `volume`.
    pub kind: &'static str,
    /// The domain's name, or the volume as `POOL/NAME`.
    pub name: String,
    /// The display name of the VSI, data disk or image that it is or belongs to, or a title.
    pub belongs_to: String,
    /// Its owner.
    pub owner: Owner,
    /// The domain's state, or the volume's format.
    pub state: String,
    /// The bytes that a volume occupies on the host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// The domains that name a volume.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// Whether `adopt` would accept it.
    pub adoptable: bool,
}

/// Adds the copies, layers and memory volumes of snapshots to the labels of disks.
fn with_snapshots(
    mut disks: BTreeMap<VolumeKey, String>,
    snapshots: &[KnownSnapshot],
) -> BTreeMap<VolumeKey, String> {
    for one in snapshots {
        let label = format!("snapshot/{}", one.record.name);
        let volumes = one.record.disks.iter();
        let volumes = volumes.flat_map(|disk| std::iter::once(&disk.copy).chain(&disk.layer));
        let volumes = volumes.chain(&one.record.memory);
        disks.extend(volumes.map(|key| (key.clone(), label.clone())));
    }
    disks
}

/// What the journal knows of a host's objects.
struct KnownObjects<'a> {
    journal: &'a str,
    vsis: BTreeMap<Uuid, &'a Known>,
    /// VSIs whose desired state cannot be read.
    lost: BTreeSet<String>,
    disks: BTreeMap<VolumeKey, String>,
    images: Vec<VolumeKey>,
}

impl HostHandle<'_> {
    /// The failures of the entities that cannot be read and are, or may be, on a host.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn unreadable(self, host: &str) -> Result<Vec<Failure>, FleetError> {
        let (known, lost) = self.fleet.known_and_lost().await?;
        let known = known.into_iter();
        let known = known.filter(|known| known.record.vsi.host == host);
        let known = known.filter_map(|known| known.unreadable.map(|why| *why));
        let lost = self
            .fleet
            .named(lost)
            .await
            .into_iter()
            .map(|lost| lost.failure);
        Ok(known.chain(lost).collect())
    }

    /// The settings of a host that the journal knows.
    ///
    /// # Errors
    /// When the journal does not know the host.
    pub fn settings(self, id: &str) -> Result<HostSettings, FleetError> {
        let known = self.fleet.directory.get(id);
        known.ok_or_else(|| FleetError::not_found("host", id))
    }

    /// The settings of the known hosts that have this label.
    pub fn labelled(self, key: &str, value: &str) -> Vec<HostSettings> {
        self.fleet.directory.labelled(key, value)
    }

    /// Every domain and every volume on a host, with its owner. Nothing is changed, except that the host
    /// refreshes its pools when they are listed.
    ///
    /// # Errors
    /// When the host cannot be asked, or the journal cannot be read.
    pub async fn inventory(self, host: HostSettings) -> Result<Vec<InventoryItem>, FleetError> {
        let id = host.id();
        self.fleet.directory.put(host);
        let ports = self.fleet.hosts.host(&id).await.map_err(Failure::from)?;
        let domains = ports.domains.domains().await.map_err(Failure::from)?;
        let volumes = volumes(&ports).await?;
        let (vsis, disks) = (self.fleet.known().await?, self.fleet.known_disks().await?);
        let mut snapshots = self.fleet.known_snapshots().await?;
        snapshots.retain(|one| one.record.host == id && !one.is_deleted());
        let lost = self.fleet.lost(kind::VSI).await?.into_iter();
        let lost = lost.map(|lost| lost.entity.id().to_owned()).collect();
        let images = self
            .fleet
            .images()
            .list()
            .await?
            .into_iter()
            .filter(|image| image.host == id);
        let images = images.filter_map(|image| {
            Some(VolumeKey {
                pool: image.pool,
                name: image.volume?,
            })
        });
        let here = |vsi: &&Known| vsi.record.vsi.host == id && !vsi.is_deleted();
        let book = KnownObjects {
            journal: &self.fleet.journal_id,
            vsis: vsis
                .iter()
                .filter(here)
                .map(|v| (v.record.uid, v))
                .collect(),
            lost,
            disks: with_snapshots(named(&disks, &id), &snapshots),
            images: images.collect(),
        };
        let of_domains = domains.iter().map(|domain| book.domain(domain));
        let of_volumes = volumes.iter().map(|volume| book.volume(volume, &domains));
        let mut items: Vec<_> = of_domains.chain(of_volumes).collect();
        items.sort_by(|a, b| (a.kind, a.owner, &a.name).cmp(&(b.kind, b.owner, &b.name)));
        Ok(items)
    }
}

async fn volumes(ports: &HostPorts) -> Result<Vec<VolumeInfo>, FleetError> {
    let pools = ports.storage.pools().await.map_err(Failure::from)?;
    let mut all = Vec::new();
    for pool in pools.iter().filter(|pool| pool.active) {
        let volumes = ports.storage.volumes(&pool.name).await;
        all.extend(volumes.map_err(Failure::from)?);
    }
    Ok(all)
}

fn named(disks: &[KnownDisk], host: &str) -> BTreeMap<VolumeKey, String> {
    let here = disks.iter().filter(|disk| disk.record.disk.host == host);
    let alive = here.filter(|disk| !disk.is_deleted());
    alive
        .flat_map(|disk| {
            let label = format!("disk/{}", disk.record.disk.name);
            let volumes = disk.volumes().into_iter();
            volumes.map(move |key| (key, label.clone()))
        })
        // A filled disk has a sidecar volume beside it.
        .flat_map(|(key, label)| [(sidecar::key(&key), label.clone()), (key, label)])
        .collect()
}

impl KnownObjects<'_> {
    fn owner(&self, domain: &DomainInfo) -> Owner {
        match &domain.mark {
            None => Owner::Foreign,
            Some(mark) if mark.journal != self.journal => Owner::OtherJournal,
            Some(_) if self.vsis.contains_key(&domain.uuid) => Owner::Owned,
            Some(_) if self.lost.contains(&domain.uuid.to_string()) => Owner::Owned,
            Some(_) => Owner::Orphaned,
        }
    }

    fn domain(&self, domain: &DomainInfo) -> InventoryItem {
        let owner = self.owner(domain);
        let known = self.vsis.get(&domain.uuid);
        let label = known.map(|vsi| format!("vsi/{}", vsi.label()));
        InventoryItem {
            kind: "domain",
            name: domain.name.clone(),
            belongs_to: label.or(domain.title.clone()).unwrap_or_default(),
            owner,
            state: state(domain.state).to_owned(),
            size: None,
            used_by: Vec::new(),
            adoptable: owner != Owner::Owned,
        }
    }

    fn volume(&self, volume: &VolumeInfo, domains: &[DomainInfo]) -> InventoryItem {
        let users: Vec<_> = domains.iter().filter(|d| names(d, volume)).collect();
        let (owner, belongs_to) = self.owner_of(volume, &users);
        InventoryItem {
            kind: "volume",
            name: volume.key.to_string(),
            belongs_to,
            owner,
            state: match volume.unreadable {
                None => volume.format.clone(),
                Some(_) => "unreadable".to_owned(),
            },
            size: volume.unreadable.is_none().then_some(volume.allocation),
            used_by: users.iter().map(|domain| domain.name.clone()).collect(),
            adoptable: false,
        }
    }

    fn owner_of(&self, volume: &VolumeInfo, users: &[&DomainInfo]) -> (Owner, String) {
        let key = &volume.key;
        if let Some(disk) = self.disks.get(key) {
            return (Owner::Owned, disk.clone());
        }
        let image = self
            .images
            .iter()
            .find(|image| *image == key || sidecar::key(image) == *key);
        if let Some(image) = image {
            return (Owner::Owned, format!("image/{}", image.name));
        }
        let by_name = uid_in_name(&key.name);
        let known = by_name.and_then(|uid| self.vsis.get(&uid));
        if let Some(vsi) = known.filter(|vsi| vsi.record.vsi.pool == key.pool) {
            return (Owner::Owned, format!("vsi/{}", vsi.label()));
        }
        if self.vsis.values().any(|vsi| refers(vsi, key)) {
            return (Owner::Foreign, "a reference".to_owned());
        }
        // A volume that a domain uses has the same owner as the domain.
        let of_user = users
            .iter()
            .map(|domain| (self.owner(domain), domain.name.clone()));
        let of_user = of_user.filter(|_| by_name.is_some());
        let orphan = by_name.map(|uid| (Owner::Orphaned, uid.to_string()));
        of_user
            .min()
            .or(orphan)
            .unwrap_or((Owner::Foreign, String::new()))
    }
}

fn refers(vsi: &Known, key: &VolumeKey) -> bool {
    let disks = vsi.record.vsi.disks.iter();
    let mut volumes = disks.map(|disk| vsi_graph::volume(&vsi.record, disk));
    volumes.any(|volume| volume == *key)
}

fn names(domain: &DomainInfo, volume: &VolumeInfo) -> bool {
    domain.files.iter().any(|file| match file {
        DiskSource::Path(path) => *path == volume.path,
        DiskSource::Volume { pool, volume: name } => {
            *pool == volume.key.pool && *name == volume.key.name
        }
        DiskSource::Other(_) => false,
    })
}

/// The UID in the name of a VSI's own volume, as vsiflow and the operator before it name volumes.
fn uid_in_name(name: &str) -> Option<Uuid> {
    let name = name.strip_suffix(".0").unwrap_or(name);
    let stems = [("cidata-", ".iso"), ("console-", ".log")];
    let mut stems = stems.into_iter();
    let of_part = stems.find_map(|(prefix, suffix)| {
        let uid = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        uid.parse().ok()
    });
    of_part.or_else(|| vsiflow_steps::names::vsi_of_boot_disk(name))
}

fn state(state: DomainState) -> &'static str {
    match state {
        DomainState::Running => "Running",
        DomainState::Paused => "Paused",
        DomainState::ShuttingDown => "ShuttingDown",
        DomainState::ShutOff => "ShutOff",
        DomainState::Crashed => "Crashed",
        DomainState::Starting => "Starting",
        DomainState::Held => "Held",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_is_told_by_the_uid_in_its_name() {
        let uid = "0a0b0c0d-0e0f-4a0b-8c0d-0e0f0a0b0c0d";
        for name in [
            "boot-UID.qcow2",
            "boot-UID-3.qcow2",
            "cidata-UID.iso",
            "console-UID.log",
            "console-UID.log.0",
        ] {
            let found = uid_in_name(&name.replace("UID", uid));
            assert_eq!(found, uid.parse().ok(), "{name}");
        }
        for name in ["boot-UID.iso", "UID", "boot-x.qcow2", "disk-UID.qcow2"] {
            assert_eq!(uid_in_name(&name.replace("UID", uid)), None, "{name}");
        }
    }
}
