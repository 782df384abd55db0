//! Adopts existing domains as VSIs, without touching their guests.

mod disks;
mod naming;

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Name, Precedence},
    secret::Secret,
};
use vsiflow_steps::{
    cidata::{self, Cidata},
    error, guards,
    guest::GuestType,
    names,
    ports::{DomainInfo, DomainState, HostPorts, OwnerMark, VolumeInfo, VolumeKey},
};

use self::disks::AdoptedVolumes;
use crate::fleet::{
    ErrorKind, Fleet, FleetError, Verdict, VsiHandle, disk::known::KnownDisk, index::Known,
    store::DesiredUpdates,
};
use crate::{
    adopt_vsi, data_disk,
    record::{Adopted, DiskRecord, VsiRecord, vsi_entity},
    spec::{
        BootDiskMode, DeletionPolicy, DesiredDisk, DesiredVsi, HostSettings, OnDrift, PowerState,
        UpdatePolicy,
        desired::{DesiredBootDisk, DesiredGuest, DesiredImage, DesiredMachine, DiskOrigin},
        ready::by_default,
    },
};

/// The largest cidata volume that is read, in bytes.
const CIDATA_MAX: u64 = 16 << 20;

/// A domain that is to be adopted.
#[derive(Clone, Debug)]
pub struct Adopting {
    /// The host it is on.
    pub host: HostSettings,
    /// Its UUID, name or title.
    pub domain: String,
    /// The namespace of the VSI. Without one: the namespace in the domain's title, or `default`.
    pub namespace: Option<String>,
    /// The name of the VSI. Without one: the name in the domain's title, or the domain's UUID.
    pub name: Option<String>,
    /// Adopt it even if it has another journal's mark.
    pub force: bool,
}

/// The result of a request to adopt a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Adoption {
    /// The adoption began; the VSI is this entity.
    Begun(EntityId),
    /// The domain is already managed as this entity, and nothing was done.
    Managed(EntityId),
}

/// A domain and its volumes, as found on the host before its adoption.
struct FoundDomain {
    domain: DomainInfo,
    pool: String,
    disks: Vec<DesiredDisk>,
    /// Whether it has a volume by which its guest is configured.
    is_seeded: bool,
    /// The content of that volume, if it can be read.
    cidata: Option<Cidata>,
    own_volumes: bool,
    boot: Option<VolumeKey>,
}

/// The data disks of this journal among the disks of a domain.
#[derive(Default)]
struct OwnDataDisks {
    /// Their UIDs by their names.
    uids: BTreeMap<String, Uuid>,
    /// The volumes that the domain names.
    volumes: Vec<VolumeKey>,
    /// Those that this journal could not make, because their volumes were there already.
    unmade: Vec<KnownDisk>,
}

impl VsiHandle<'_> {
    /// The namespace and name that a domain is, or would be, adopted under. The host's settings are
    /// recorded.
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

    /// Adopts a domain as it is: only vsiflow's mark is written into its metadata. What the domain was made
    /// from is unknown, so the first document that is applied to it supplies that without changing
    /// anything. A domain that is already managed is left alone, unless this journal is an older copy of
    /// the one that changed it last. Then this journal continues from the domain's current state.
    ///
    /// # Errors
    /// When the host cannot be asked or has no such domain, when the domain belongs to another journal,
    /// when it cannot have the requested name, or the journal fails.
    pub async fn adopt(self, what: Adopting, by: By) -> Result<Adoption, FleetError> {
        self.fleet.may_act()?;
        let host = what.host.id();
        let ports = self.fleet.host_to_adopt_on(&what, by.clone()).await?;
        let domain = named(&ports, &what.domain).await?;
        let uid = domain.uuid;
        let entity = vsi_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        let all = self.fleet.known().await?;
        let earlier = all.iter().find(|known| known.entity == entity);
        let known = earlier.filter(|known| !known.is_deleted());
        let behind = self
            .fleet
            .verdict(&entity)
            .is_some_and(|verdict| is_behind(&verdict));
        let ours = |mark: &OwnerMark| mark.journal == *self.fleet.journal_id;
        match &domain.mark {
            Some(mark) if !ours(mark) && !what.force => return Err(not_ours(&ports, uid, mark)),
            _ => {}
        }
        match known {
            Some(known) => naming::check_name_unchanged(&what, known)?,
            None => naming::is_free(&what, &domain, &all)?,
        }
        let is_marked = domain.mark.as_ref().is_some_and(ours);
        if is_marked && known.is_some() && !behind && !self.fleet.is_ahead(&domain) {
            return Ok(Adoption::Managed(entity));
        }
        let mut found = self.fleet.found(&ports, domain).await?;
        let namespace = match known {
            Some(known) => known.record.vsi.namespace.clone(),
            None => naming::of(&what, &found.domain).0,
        };
        let own_disks = self
            .fleet
            .name_data_disks(&host, &namespace, &mut found.disks);
        let own_disks = own_disks.await?;
        let mut record = self.fleet.adopted(&what, &host, found, known).await?;
        record.disks.extend(own_disks.uids);
        if let Some(adopted) = &mut record.adopted {
            adopted.data_disks = own_disks.volumes;
        }
        if let Some(known) = known {
            record.vsi.deletion_policy = known.newest_policy();
        } else if let Some(forgotten) = earlier.filter(|forgotten| forgotten.may_have_stayed()) {
            keep_promises(&mut record, forgotten);
        }
        let mut takeover = DesiredUpdates::default();
        let (workflow, precedence) = (adopt_vsi::NAME, Precedence::Supersede);
        let made_from = known.and_then(Known::made_from);
        takeover.add(entity.clone(), workflow, precedence, &record, made_from)?;
        for disk in own_disks.unmade {
            let brought = DiskRecord {
                recorded: true,
                adopted: true,
                ..disk.record
            };
            let newest = disk.state.desired.as_ref().map(|newest| newest.generation);
            takeover.add(disk.entity, data_disk::NAME, precedence, &brought, newest)?;
        }
        self.fleet.record(takeover, by).await?;
        Ok(Adoption::Begun(entity))
    }
}

impl Fleet {
    /// The host of a domain that is to be adopted. Its settings are recorded.
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
        let volumes = guards::active_volumes(ports).await?;
        let adopted = AdoptedVolumes::find(ports, &domain, &volumes).await?;
        let own_volumes = adopted.are_own(ports, &domain)?;
        let boot = adopted.boot.map(|boot| boot.key.clone());
        let pool = boot.as_ref().map(|boot| boot.pool.clone());
        let pool = pool.unwrap_or_else(|| "images".to_owned());
        let disks = adopted.data.iter().copied().map(existing).collect();
        let cidata = match adopted.seed {
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
            is_seeded: adopted.seed.is_some(),
            cidata,
            own_volumes,
            boot: boot.filter(|_| own_volumes),
        })
    }

    /// Takes the data disks of this journal among a domain's disks for what they are.
    async fn name_data_disks(
        &self,
        host: &str,
        namespace: &str,
        disks: &mut [DesiredDisk],
    ) -> Result<OwnDataDisks, FleetError> {
        let mut own_disks = OwnDataDisks::default();
        let mut living = self.known_disks().await?;
        living.retain(|own| {
            let disk = &own.record.disk;
            !own.is_deleted() && disk.host == host && disk.namespace == namespace
        });
        for disk in disks {
            let DiskOrigin::Existing { volume } = &disk.source else {
                continue;
            };
            // Also the one that a restoration made which this journal does not know.
            let is_it = |own: &&KnownDisk| {
                own.record.disk.pool == disk.pool && names::is_of_data_disk(volume, own.uid)
            };
            let Some(own) = living.iter().find(is_it) else {
                continue;
            };
            let desired = &own.record.disk;
            own_disks.volumes.push(VolumeKey {
                pool: disk.pool.clone(),
                name: volume.clone(),
            });
            if !own.is_made() && !own.record.adopted {
                own_disks.unmade.push(own.clone());
            }
            disk.name.clone_from(&desired.name);
            disk.source = DiskOrigin::Made {
                uid: desired.uid,
                size: desired.size,
                deletion_policy: desired.deletion_policy,
            };
            own_disks.uids.insert(desired.name.clone(), own.uid);
        }
        Ok(own_disks)
    }

    /// The record of an adopted VSI: the domain's current state becomes the desired state.
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
            boot: found.boot.clone(),
            data_disks: Vec::new(),
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
            Some(known) => with_current_state(known.record.vsi.clone(), &found, known),
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

/// Gives an adopted VSI what it had when it was forgotten and its domain does not show: its addresses, and
/// what becomes of it when it is deleted.
fn keep_promises(record: &mut VsiRecord, forgotten: &Known) {
    let before = &forgotten.record.vsi;
    let vsi = &mut record.vsi;
    vsi.deletion_policy = forgotten.newest_policy();
    if vsi.host != before.host {
        return;
    }
    for network in &vsi.networks {
        if let (Some(made), Some(address)) = (
            before.made_networks.get(network),
            before.addresses.get(network),
        ) {
            vsi.made_networks.insert(network.clone(), made.clone());
            vsi.addresses.insert(network.clone(), *address);
        }
    }
}

/// The secrets that the adopted VSI no longer needs.
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

fn not_ours(ports: &HostPorts, uid: Uuid, mark: &OwnerMark) -> FleetError {
    let message = format!("it belongs to journal {}", mark.journal);
    let failure = error::NOT_OURS
        .failure(message)
        .on_host(ports.host.name())
        .of_object(format!("domain {uid}"))
        .with_remedy("make sure that no process works with that journal, then adopt with --force");
    FleetError::new(ErrorKind::Blocked, failure)
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

/// The guest, as the volume shows it by which it is configured: one of a Hyper Protect guest names no instance. A domain
/// whose volume cannot be read is taken for a Hyper Protect guest, whose memory nobody may save.
fn guest(found: &FoundDomain) -> Option<DesiredGuest> {
    let Some(cidata) = &found.cidata else {
        let unconfigured = DesiredGuest {
            guest_type: GuestType::None,
            hostname: String::new(),
            ssh_keys: Vec::new(),
            vendor_data: None,
        };
        return (!found.is_seeded).then_some(unconfigured);
    };
    let instance = cidata.instance.as_ref()?;
    Some(DesiredGuest {
        guest_type: GuestType::CloudInit,
        hostname: cidata.hostname.clone(),
        ssh_keys: instance.ssh_keys.clone(),
        vendor_data: instance.vendor_data.clone(),
    })
}

fn machine(arch: &str, found: &FoundDomain) -> DesiredMachine {
    DesiredMachine {
        arch: arch.to_owned(),
        cpus: found.domain.stored.cpus,
        memory_mib: found.domain.stored.memory_mib,
        memory_is_rounded: false,
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

/// The desired state that this journal had, updated to the domain's current state.
fn with_current_state(vsi: DesiredVsi, found: &FoundDomain, known: &Known) -> DesiredVsi {
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
    let shown_guest = guest(found);
    let guest_type = shown_guest.as_ref().map(|shown| shown.guest_type);
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
        guest: shown_guest,
        ready: guest_type.map(by_default),
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
