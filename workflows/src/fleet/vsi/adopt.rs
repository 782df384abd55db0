//! Takes domains that are there into management, without touching their guests.

mod naming;

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Name, Precedence},
    secret::Secret,
};
use vsiflow_steps::{
    cidata::{self, Cidata},
    error, names,
    ports::{DomainInfo, DomainState, HostPorts, OwnerMark, VolumeInfo, VolumeKey},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, Verdict, VsiHandle, index::Known, store::DesiredUpdates,
};
use crate::{
    adopt_vsi::{self, Adopted},
    record::{VsiRecord, vsi_entity},
    spec::{
        BootDiskMode, DeletionPolicy, DesiredDisk, DesiredVsi, HostSettings, OnDrift, PowerState,
        UpdatePolicy,
        desired::{DesiredBootDisk, DesiredImage, DesiredMachine, DiskOrigin},
    },
};

/// The longest cidata volume that is read.
const CIDATA_MAX: u64 = 16 << 20;

/// A domain that is to be adopted.
#[derive(Clone, Debug)]
pub struct Adopting {
    /// The host it is on.
    pub host: HostSettings,
    /// Its UUID, name or title.
    pub domain: String,
    /// The namespace it gets; that of its title, or `default`, where none is given.
    pub namespace: Option<String>,
    /// The name it gets; that of its title, or one made of its UUID, where none is given.
    pub name: Option<String>,
    /// Take it although another journal's mark is on it.
    pub force: bool,
}

/// What became of a domain that was to be adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// Its adoption began, as this entity.
    Begun(EntityId),
    /// It is managed already, as this entity: nothing was done.
    Managed(EntityId),
}

/// A domain as a look for adoption found it.
struct FoundDomain {
    domain: DomainInfo,
    pool: String,
    disks: Vec<DesiredDisk>,
    cidata: Option<Cidata>,
    own_volumes: bool,
}

impl VsiHandle<'_> {
    /// The namespace and the name that a domain is, or would be, adopted under. What is said of its host is recorded.
    ///
    /// # Errors
    /// When the host cannot be asked or has no such domain, or the journal fails.
    pub async fn adoption_name(
        self,
        what: &Adopting,
        by: By,
    ) -> Result<(String, String), FleetError> {
        self.fleet.may_act()?;
        let domain = named(&self.fleet.host_to_adopt_on(what, by).await?, &what.domain).await?;
        let all = self.fleet.known().await?;
        let mut known = all.iter().filter(|known| !known.is_deleted());
        Ok(match known.find(|known| known.record.uid == domain.uuid) {
            Some(known) => {
                let vsi = &known.record.vsi;
                (vsi.namespace.clone(), vsi.name.clone())
            }
            None => naming::of(what, &domain),
        })
    }

    /// Takes a domain into management as it stands: only our mark is written into its metadata.
    /// What it was made from and nobody can tell is taken over from the first document that is
    /// applied to it, which therefore changes nothing. One that is managed already is left alone,
    /// unless this journal is an older copy of the one that touched it last: then what stands is
    /// what this journal continues from.
    ///
    /// # Errors
    /// When the host cannot be asked or has no such domain, when it is another journal's, when it is
    /// to have a name that it cannot have, or the journal fails.
    pub async fn adopt(self, what: Adopting, by: By) -> Result<Adoption, FleetError> {
        self.fleet.may_act()?;
        let host = what.host.id();
        let ports = self.fleet.host_to_adopt_on(&what, by.clone()).await?;
        let domain = named(&ports, &what.domain).await?;
        let uid = domain.uuid;
        let entity = vsi_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        let all = self.fleet.known().await?;
        let known = all.iter().find(|known| known.entity == entity);
        let known = known.filter(|known| !known.is_deleted());
        let behind = self
            .fleet
            .verdict(&entity)
            .is_some_and(|verdict| is_behind(&verdict));
        let ours = |mark: &OwnerMark| mark.journal == *self.fleet.journal_id;
        match &domain.mark {
            Some(mark) if !ours(mark) && !what.force => return Err(anothers(&ports, uid, mark)),
            _ => {}
        }
        match known {
            Some(known) => naming::check_kept_name(&what, known)?,
            None => naming::is_free(&what, &domain, &all)?,
        }
        let is_marked = domain.mark.as_ref().is_some_and(ours);
        if is_marked && known.is_some() && !behind && !self.fleet.is_ahead(&domain) {
            return Ok(Adoption::Managed(entity));
        }
        let found = self.fleet.found(&ports, domain).await?;
        let record = self.fleet.adopted(&what, &host, found, known).await?;
        let mut takeover = DesiredUpdates::default();
        let (workflow, precedence) = (adopt_vsi::NAME, Precedence::Supersede);
        let made_from = known.and_then(Known::made_from);
        takeover.add(entity.clone(), workflow, precedence, &record, made_from)?;
        self.fleet.record(takeover, by).await?;
        Ok(Adoption::Begun(entity))
    }
}

impl Fleet {
    /// The host of what is to be adopted, which is known from then on.
    async fn host_to_adopt_on(&self, what: &Adopting, by: By) -> Result<HostPorts, FleetError> {
        let mut updates = DesiredUpdates::default();
        self.host_update(what.host.clone(), &mut updates).await?;
        self.record(updates, by).await?;
        let ports = self.hosts.host(&what.host.id()).await;
        Ok(ports.map_err(Failure::from)?)
    }

    /// Whether a newer copy of this journal touched the domain.
    pub(in crate::fleet) fn is_ahead(&self, domain: &DomainInfo) -> bool {
        let Some(mark) = &domain.mark else {
            return false;
        };
        let run = mark.run.and_then(|run| self.engine.run(run));
        mark.journal == *self.journal_id && mark.run.is_some() && run.is_none()
    }

    async fn found(
        &self,
        ports: &HostPorts,
        domain: DomainInfo,
    ) -> Result<FoundDomain, FleetError> {
        let volumes = volumes(ports).await?;
        let at = |path: &str| volumes.iter().find(|volume| volume.path == path);
        let shapes = &domain.stored.disks;
        let boot = shapes.iter().find(|disk| !disk.readonly);
        let boot = boot.and_then(|disk| at(&disk.source));
        let seed = shapes.iter().find(|disk| disk.readonly);
        let seed = seed.and_then(|disk| at(&disk.source));
        let pool = boot.map_or_else(|| "images".to_owned(), |boot| boot.key.pool.clone());
        let uid = domain.uuid;
        let own = |volume: Option<&VolumeInfo>, key: VolumeKey| {
            volume.is_some_and(|volume| volume.key == key)
        };
        let own_volumes =
            own(boot, names::boot_disk(&pool, uid)) && own(seed, names::cidata(&pool, uid));
        let skipped = [boot, seed].map(|volume| volume.map(|volume| volume.path.clone()));
        let data = shapes
            .iter()
            .filter(|disk| !skipped.contains(&Some(disk.source.clone())));
        let disks = data.filter_map(|disk| at(&disk.source)).map(existing);
        let disks = disks.collect();
        let cidata = match seed {
            Some(seed) if seed.physical <= CIDATA_MAX => {
                let read = ports.storage.read(&seed.key, 0, CIDATA_MAX).await;
                cidata::read(&read.map_err(Failure::from)?)
            }
            _ => None,
        };
        Ok(FoundDomain {
            domain,
            pool,
            disks,
            cidata,
            own_volumes,
        })
    }

    /// The desired state is what stands.
    async fn adopted(
        &self,
        what: &Adopting,
        host: &str,
        found: FoundDomain,
        known: Option<&Known>,
    ) -> Result<VsiRecord, FleetError> {
        let uid = found.domain.uuid;
        let mut unknown: BTreeSet<String> = adopt_vsi::UNKNOWN.map(str::to_owned).into();
        if found.cidata.is_none() {
            unknown.extend(adopt_vsi::OF_CIDATA.map(str::to_owned));
        }
        let contract = found.cidata.as_ref().map(|cidata| cidata.user_data.clone());
        let contract = match (contract, known) {
            (Some(contract), _) => self.secrets.put(Secret::new(contract)).await?,
            (None, Some(known)) => known.record.contract.clone(),
            (None, None) => self.secrets.put(Secret::new(Vec::new())).await?,
        };
        let adopted = Adopted {
            own_volumes: found.own_volumes,
            macs: found
                .domain
                .stored
                .nics
                .iter()
                .map(|n| n.mac.clone())
                .collect(),
        };
        let retired = known.map_or_else(Vec::new, |known| retired(known, &contract));
        let disks = known
            .map(|known| known.record.disks.clone())
            .unwrap_or_default();
        let formats = match known {
            Some(known) => self.formats(known).await?,
            None => Vec::new(),
        };
        let previous_owner = found.domain.mark.clone();
        let vsi = match known {
            Some(known) => stands(known.record.vsi.clone(), &found, known),
            None => desired(what, host, &found),
        };
        Ok(VsiRecord {
            image_credentials: known.and_then(|known| known.record.image_credentials.clone()),
            retired,
            disks,
            adopted: Some(adopted),
            previous_owner,
            unknown,
            formats,
            ..VsiRecord::new(uid, contract, vsi)
        })
    }
}

/// Secrets that nothing of what stands needs.
fn retired(known: &Known, contract: &Name) -> Vec<Name> {
    let mut retired = known.record.retired.clone();
    if known.record.contract != *contract {
        retired.push(known.record.contract.clone());
    }
    retired
}

fn is_behind(verdict: &Verdict) -> bool {
    let behind = |failure: &Failure| failure.code.as_str() == error::JOURNAL_BEHIND.code;
    matches!(verdict, Verdict::Blocked(failure) if behind(failure))
}

async fn named(ports: &HostPorts, name: &str) -> Result<DomainInfo, FleetError> {
    let domains = ports.domains.domains().await.map_err(Failure::from)?;
    let is = |domain: &&DomainInfo| {
        let uuid = name.parse::<Uuid>().ok();
        uuid == Some(domain.uuid) || domain.name == name || domain.title.as_deref() == Some(name)
    };
    let mut found = domains.iter().filter(is);
    match (found.next(), found.next()) {
        (Some(domain), None) => Ok(domain.clone()),
        (None, _) => Err(FleetError::not_found("domain", name)),
        (Some(_), Some(_)) => {
            let message = format!("several domains are called {name}");
            let failure = Failure::new(FailureClass::Blocked, "VSI0703", message)
                .on_host(ports.host.name())
                .with_remedy("name the domain by its UUID");
            Err(FleetError::new(ErrorKind::Blocked, failure))
        }
    }
}

fn anothers(ports: &HostPorts, uid: Uuid, mark: &OwnerMark) -> FleetError {
    let message = format!("it belongs to journal {}", mark.journal);
    let failure = error::NOT_OURS
        .failure(message)
        .on_host(ports.host.name())
        .of_object(format!("domain {uid}"))
        .with_remedy("make sure that no process works with that journal, then adopt with --force");
    FleetError::new(ErrorKind::Blocked, failure)
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

fn existing(volume: &VolumeInfo) -> DesiredDisk {
    let VolumeKey { pool, name } = &volume.key;
    DesiredDisk {
        name: name.clone(),
        pool: pool.clone(),
        source: DiskOrigin::Existing {
            volume: name.clone(),
        },
    }
}

fn machine(arch: &str, found: &FoundDomain) -> DesiredMachine {
    DesiredMachine {
        arch: arch.to_owned(),
        cpus: found.domain.stored.cpus,
        memory_mib: found.domain.stored.memory_mib,
        cpu: None,
        firmware: Default::default(),
        secure_execution: Default::default(),
        graphics: Default::default(),
    }
}

fn networks(found: &FoundDomain) -> Vec<String> {
    let nics = found.domain.stored.nics.iter();
    nics.map(|nic| nic.network.clone()).collect()
}

fn power(state: DomainState) -> PowerState {
    match state {
        DomainState::Running
        | DomainState::ShuttingDown
        | DomainState::Starting
        | DomainState::Held => PowerState::Running,
        DomainState::Paused => PowerState::Paused,
        DomainState::ShutOff | DomainState::Crashed => PowerState::Stopped,
    }
}

/// What this journal knew, as it stands now.
fn stands(vsi: DesiredVsi, found: &FoundDomain, known: &Known) -> DesiredVsi {
    let volume = |disk: &DesiredDisk| crate::vsi_graph::volume(&known.record, disk);
    let before: Vec<_> = vsi.disks.iter().map(volume).collect();
    let now: Vec<_> = found.disks.iter().map(volume).collect();
    let same = before == now;
    DesiredVsi {
        machine: machine(&vsi.machine.arch, found),
        networks: networks(found),
        disks: if same { vsi.disks } else { found.disks.clone() },
        network_config: match &found.cidata {
            Some(cidata) => cidata.network_config.clone(),
            None => vsi.network_config,
        },
        power_state: power(found.domain.state),
        ..vsi
    }
}

fn desired(what: &Adopting, host: &str, found: &FoundDomain) -> DesiredVsi {
    let (namespace, name) = naming::of(what, &found.domain);
    DesiredVsi {
        namespace,
        name,
        uid: Some(found.domain.uuid),
        labels: Default::default(),
        host: host.to_owned(),
        pool: found.pool.clone(),
        image: DesiredImage {
            url: String::new(),
            file_name: String::new(),
            checksum: None,
        },
        boot_disk: DesiredBootDisk {
            mode: BootDiskMode::default(),
            size: None,
            copy_of: None,
        },
        machine: machine(&found.domain.arch, found),
        networks: networks(found),
        network_refs: Default::default(),
        made_networks: Default::default(),
        addresses: Default::default(),
        guest: None,
        ready: None,
        disks: found.disks.clone(),
        network_config: found.cidata.as_ref().and_then(|c| c.network_config.clone()),
        power_state: power(found.domain.state),
        restarted_at: None,
        on_drift: OnDrift::default(),
        update_policy: UpdatePolicy::default(),
        deletion_policy: DeletionPolicy::Delete,
        snapshot_policy: None,
        member_of: None,
        placement: None,
    }
}
