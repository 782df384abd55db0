//! Networks that vsiflow makes: applying the networks of documents, and deletion.

use std::{collections::BTreeMap, sync::Arc};

use vsiflow_engine::{
    executor::{By, Drive},
    model::{EntityId, EntityState, Failure, FailureClass, Precedence},
};

use vsiflow_steps::ports::NetworkMode;

use crate::fleet::{
    Applied, Change, ErrorKind, Fleet, FleetError, NetworkHandle, apply::is_deleting, index::Known,
    network::over_journals::in_use, object::qualified, placement::templates, store::DesiredUpdates,
};
use crate::{
    network::{self, NetworkRecord},
    phase,
    pool::PoolRecord,
    record::{VsiRecord, kind, network_entity},
    spec::{DeletionPolicy, DesiredNetwork, DesiredVsi, Resolved},
};

/// A network of the journal.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct KnownNetwork {
    pub(in crate::fleet) entity: EntityId,
    pub(in crate::fleet) state: Arc<EntityState>,
    pub(in crate::fleet) record: NetworkRecord,
}

impl KnownNetwork {
    pub(in crate::fleet) fn is_deleted(&self) -> bool {
        phase::is_gone(&self.entity, &self.state)
    }

    pub(in crate::fleet) fn is_deleting(&self) -> bool {
        let desired = self.state.desired.as_ref();
        let workflow = desired.map_or("", |desired| desired.workflow.as_str());
        [network::DELETE, network::FORGET].contains(&workflow)
    }

    fn generation(&self) -> Option<u64> {
        let desired = self.state.desired.as_ref();
        desired.map(|desired| desired.generation)
    }

    pub(super) fn is_named(&self, namespace: &str, name: &str) -> bool {
        let network = &self.record.network;
        (network.namespace.as_str(), network.name.as_str()) == (namespace, name)
    }

    /// Whether a VSI is on it.
    pub(in crate::fleet) fn is_used_by(&self, vsi: &DesiredVsi) -> bool {
        vsi.host == self.record.host && vsi.networks.contains(&self.record.network.on_host())
    }

    /// Whether a VSI from this template is on the network, or would be if it is placed on this host.
    fn may_be_used_by(&self, template: &DesiredVsi) -> bool {
        let mut hosts = template.possible_hosts();
        hosts.any(|host| host == self.record.host)
            && template.networks.contains(&self.record.network.on_host())
    }
}

impl NetworkHandle<'_> {
    /// The networks with an open run, or a desired state that no run was opened for.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn interrupted(self) -> Result<Vec<(EntityId, String, String)>, FleetError> {
        let known = self.fleet.known_networks().await?.into_iter();
        let open = known.filter(|known| {
            known.is_open() && self.fleet.engine.unreadable(&known.entity).is_none()
        });
        let named = open.map(|named_network| {
            let DesiredNetwork {
                namespace, name, ..
            } = named_network.record.network;
            (named_network.entity, namespace, name)
        });
        Ok(named.collect())
    }

    /// The entities of the network with this name on all its hosts.
    ///
    /// # Errors
    /// When there is no network of that name.
    pub async fn find(self, namespace: &str, name: &str) -> Result<Vec<EntityId>, FleetError> {
        let found = self.fleet.networks_named(namespace, name).await?;
        Ok(found.into_iter().map(|known| known.entity).collect())
    }

    /// The entities of the networks with this name, deleted ones included.
    ///
    /// # Errors
    /// When there never was a network of that name.
    pub async fn find_ever(self, namespace: &str, name: &str) -> Result<Vec<EntityId>, FleetError> {
        let found = self.fleet.networks_ever(namespace, name).await?;
        Ok(found.into_iter().map(|(entity, _)| entity).collect())
    }

    /// Records that a network is to be deleted on all its hosts, by its `deletionPolicy`: it is deleted
    /// once nothing there uses it, or stays. With `orphan` it always stays, and no host is asked.
    ///
    /// # Errors
    /// `VSI0703` if there is no network of that name; `VSI0746` if a VSI that stays is on it.
    pub async fn delete(
        self,
        namespace: &str,
        name: &str,
        orphan: bool,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let found = self.fleet.networks_named(namespace, name).await?;
        if !orphan {
            self.fleet
                .refuse_while_unreadable("the deletion of a network")
                .await?;
        }
        let mut updates = DesiredUpdates::default();
        for known in &found {
            let workflow = known.ended_by(orphan);
            if known.workflow() == workflow {
                self.fleet
                    .engine
                    .retry(known.entity.clone(), by.clone())
                    .await?;
                continue;
            }
            let users = self.fleet.users_of(known).await?;
            if !users.is_empty() && !orphan {
                let failure = in_use(namespace, name, &users).on_host(&known.record.host);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
            let (entity, supreme) = (known.entity.clone(), Precedence::Supreme);
            updates.add(entity, workflow, supreme, &known.record, None)?;
        }
        self.fleet.record(updates, by).await?;
        Ok(found.into_iter().map(|known| known.entity).collect())
    }
}

impl Fleet {
    /// All networks that vsiflow makes, deleted ones included, by namespace, name and host.
    pub(in crate::fleet) async fn known_networks(&self) -> Result<Vec<KnownNetwork>, FleetError> {
        let all = self.all_desired::<NetworkRecord>(kind::NETWORK).await?;
        let all = all.into_iter().map(|(entity, state, record)| KnownNetwork {
            entity,
            state,
            record,
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|known| (known.record.network.full_name(), known.record.host.clone()));
        Ok(all)
    }

    /// Drafts the networks that VSIs need on their hosts, and the changes of existing networks by documents
    /// of pools, groups and networks. New desired states go into `updates`.
    ///
    /// # Errors
    /// When a network is being deleted, would have to change, or overlaps another one on its host.
    pub(in crate::fleet) async fn draft_networks(
        &self,
        resolved: &Resolved,
        updates: &mut DesiredUpdates,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut requests = requests_of(resolved)?;
        if requests.is_empty() && resolved.networks.is_empty() {
            return Ok(Vec::new());
        }
        let known = self.known_networks().await?;
        // The document of a network changes it on all its hosts, whatever uses it there.
        for (entity, record) in on_their_hosts(&resolved.networks, &known) {
            let by = NetworkRequester::Template;
            requests
                .entry(entity)
                .or_insert(NetworkRequest { record, by });
        }
        let alive = known.iter().filter(|known| !known.is_deleted());
        let mut there: BTreeMap<_, _> = alive
            .map(|network| (network.entity.clone(), network.record.clone()))
            .collect();
        let mut all = Vec::new();
        for (entity, request) in requests {
            let known_one = known.iter().find(|known| known.entity == entity);
            let record = &request.record;
            let change = match (
                known_one.filter(|network| !network.is_deleted()),
                request.by,
            ) {
                // The members of the template wait until it is deleted.
                (Some(deleting), NetworkRequester::Template) if deleting.is_deleting() => continue,
                (Some(deleting), _) if deleting.is_deleting() => {
                    let name = record.network.full_name();
                    return Err(FleetError::going_of(kind::NETWORK, &name));
                }
                // The network in a pool's record may be older than the existing one, which the pool's
                // members are on.
                (Some(present), NetworkRequester::Member) => {
                    refuse_other(present, &record.network)?;
                    continue;
                }
                (Some(present), _) => changed(present, record, updates)?,
                // It is made with the first member.
                (None, NetworkRequester::Template) => continue,
                (None, _) => {
                    free_of(record, there.values())?;
                    let generation = known_one.and_then(KnownNetwork::generation);
                    let supersede = Precedence::Supersede;
                    updates.add(entity.clone(), network::NAME, supersede, record, generation)?;
                    there.insert(entity.clone(), record.clone());
                    Change::Created
                }
            };
            let (namespace, name) = (&record.network.namespace, &record.network.name);
            let (kind, entity) = (kind::NETWORK, Some(entity));
            all.push(Applied::unplanned(kind, namespace, name, entity, change));
        }
        Ok(all)
    }

    /// The data disks and networks that a VSI waits for or will wait for.
    pub(in crate::fleet) async fn awaited_by(
        &self,
        vsi: &EntityId,
    ) -> Result<Vec<EntityId>, FleetError> {
        let mut all = self.disks_of(vsi).await?;
        let Some(state) = self.engine.entity(vsi) else {
            return Ok(all);
        };
        if vsi.kind().as_str() != kind::VSI {
            return Ok(all);
        }
        let record = self.read_record::<VsiRecord>(&state).await?;
        if let Some(VsiRecord { vsi: used, .. }) = record {
            let networks = used.made_networks.keys();
            let networks = networks.filter_map(|name| network_entity(&used.host, name).ok());
            all.extend(networks.filter(|network| self.engine.entity(network).is_some()));
        }
        Ok(all)
    }

    /// The networks with this name, deleted ones included.
    pub(in crate::fleet) async fn networks_ever(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<(EntityId, Arc<EntityState>)>, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let all = self.known_networks().await?.into_iter();
        let named = all.filter(|known| known.is_named(namespace, name));
        let found: Vec<_> = named.map(|known| (known.entity, known.state)).collect();
        if found.is_empty() {
            self.refuse_absence(kind::NETWORK, namespace, name).await?;
            return Err(FleetError::not_found(kind::NETWORK, name));
        }
        Ok(found)
    }

    async fn networks_named(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Vec<KnownNetwork>, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let mut found = self.known_networks().await?;
        found.retain(|known| known.is_named(namespace, name) && !known.is_deleted());
        if found.is_empty() {
            self.refuse_absence(kind::NETWORK, namespace, name).await?;
            return Err(FleetError::not_found(kind::NETWORK, name));
        }
        Ok(found)
    }

    /// Records that the networks that a group's members were on are deleted by their own `deletionPolicy`
    /// if nothing else is on them, and begins the work. It covers every host that a member was, or may have
    /// been, placed on. Returns whether deletions are in progress; a blocked one is not waited for.
    pub(in crate::fleet) async fn delete_networks_of(
        &self,
        templates: &[&DesiredVsi],
        by: By,
    ) -> Result<bool, FleetError> {
        if templates.iter().all(|vsi| vsi.made_networks.is_empty()) {
            return Ok(false);
        }
        let mut updates = DesiredUpdates::default();
        let mut going = Vec::new();
        for known in self.known_networks().await? {
            let goes = known.record.network.deletion_policy == DeletionPolicy::Delete;
            let was_used = templates.iter().any(|vsi| known.may_be_used_by(vsi));
            if known.is_deleted() || !goes || !was_used {
                continue;
            }
            if known.is_deleting() {
                let is_open = self.own_verdict(&known.entity).is_none();
                going.extend(is_open.then_some(known.entity));
                continue;
            }
            if !self.users_of(&known).await?.is_empty() {
                continue;
            }
            let (entity, supreme) = (known.entity.clone(), Precedence::Supreme);
            going.push(entity.clone());
            updates.add(entity, network::DELETE, supreme, &known.record, None)?;
        }
        self.record(updates, by).await?;
        let are_open = !going.is_empty();
        self.engine.drive(Drive::These(going)).await?;
        Ok(are_open)
    }

    /// The names of the VSIs that are on a network and stay, and of the pools that make such VSIs.
    pub(in crate::fleet) async fn users_of(
        &self,
        network: &KnownNetwork,
    ) -> Result<Vec<String>, FleetError> {
        let on_host = self.known_on(&network.record.host).await?;
        let stays = |vsi: &&Known| !vsi.is_deleted() && !is_deleting(&vsi.state);
        let uses = |vsi: &&Known| {
            let proposed = vsi.record.proposed.iter().map(|proposed| &proposed.vsi);
            let mut all = std::iter::once(&vsi.record.vsi).chain(proposed);
            all.any(|other| network.is_used_by(other))
        };
        let vsis = on_host.iter().filter(stays).filter(uses);
        let mut users: Vec<_> = vsis.map(Known::label).collect();
        for pool in self.living::<PoolRecord>().await? {
            let record = &pool.record;
            let templates = std::iter::once(&record.template).chain(&record.proposed);
            let mut templates = templates.map(|template| &template.vsi);
            if !pool.is_deleting() && templates.any(|vsi| network.may_be_used_by(vsi)) {
                users.push(format!("pool/{}", pool.label()));
            }
        }
        Ok(users)
    }
}

impl KnownNetwork {
    /// Whether it has an open run, or a desired state that no run was opened for.
    fn is_open(&self) -> bool {
        let begun = self.generation() == Some(self.state.attempted);
        self.state.active.is_some() || !self.state.is_settled() && !begun
    }

    pub(super) fn workflow(&self) -> &str {
        let desired = self.state.desired.as_ref();
        desired.map_or("", |desired| desired.workflow.as_str())
    }

    /// The workflow that deletes or forgets it, by its `deletionPolicy`; with `orphan`, always the one that
    /// forgets it.
    pub(super) fn ended_by(&self, orphan: bool) -> &'static str {
        if orphan || self.record.network.deletion_policy == DeletionPolicy::Retain {
            network::FORGET
        } else {
            network::DELETE
        }
    }
}

/// The request for a network on a host.
struct NetworkRequest {
    record: NetworkRecord,
    by: NetworkRequester,
}

/// The source of a request for a network. An earlier variant takes precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum NetworkRequester {
    /// The document of a VSI: the network is made or changed.
    Document,
    /// The document of a pool, a group, or the network itself: an existing network is changed.
    Template,
    /// A pool with the network in its record: the network is made for a member.
    Member,
}

fn requests_of(resolved: &Resolved) -> Result<BTreeMap<EntityId, NetworkRequest>, FleetError> {
    let mut all = BTreeMap::<EntityId, NetworkRequest>::new();
    let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
    let vsis = vsis.map(|vsi| {
        let is_member = vsi.member_of.is_some();
        let by = if is_member {
            NetworkRequester::Member
        } else {
            NetworkRequester::Document
        };
        (vsi, vec![vsi.host.as_str()], by)
    });
    let templates = templates(resolved);
    let templates = templates.map(|vsi| {
        (
            vsi,
            vsi.possible_hosts().collect(),
            NetworkRequester::Template,
        )
    });
    for (vsi, hosts, by) in vsis.chain(templates) {
        // Nothing is made before its documents name a host.
        for host in hosts.into_iter().filter(|host| !host.is_empty()) {
            for network in vsi.made_networks.values() {
                let record = NetworkRecord {
                    host: host.to_owned(),
                    network: network.clone(),
                };
                let entity = record.entity();
                let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
                match all.get(&entity) {
                    Some(there) if there.by <= by => {}
                    _ => _ = all.insert(entity, NetworkRequest { record, by }),
                }
            }
        }
    }
    Ok(all)
}

/// The records of existing networks as documents of networks change them.
fn on_their_hosts(
    documents: &[DesiredNetwork],
    known: &[KnownNetwork],
) -> Vec<(EntityId, NetworkRecord)> {
    let alive = known.iter().filter(|known| !known.is_deleted());
    let updates = alive.filter_map(|recorded| {
        let its = |network: &&DesiredNetwork| recorded.is_named(&network.namespace, &network.name);
        let network = documents.iter().find(its)?.clone();
        let host = recorded.record.host.clone();
        Some((recorded.entity.clone(), NetworkRecord { host, network }))
    });
    updates.collect()
}

/// Adds the change of an existing network by a document to `updates`.
fn changed(
    known: &KnownNetwork,
    record: &NetworkRecord,
    updates: &mut DesiredUpdates,
) -> Result<Change, FleetError> {
    let (before, after) = (&known.record.network, &record.network);
    let same = before.lasting() == after.lasting();
    if before == after && known.workflow() == network::NAME {
        return Ok(Change::Unchanged);
    }
    refuse_other(known, after)?;
    let precedence = if same && known.state.is_settled() {
        Precedence::Record
    } else {
        Precedence::Supersede
    };
    let (entity, generation) = (known.entity.clone(), known.generation());
    updates.add(entity, network::NAME, precedence, record, generation)?;
    Ok(Change::Configured)
}

/// Refuses a change of a network that is already made, except of its `deletionPolicy`.
fn refuse_other(known: &KnownNetwork, desired: &DesiredNetwork) -> Result<(), FleetError> {
    let is_same = known.record.network.lasting() == desired.lasting();
    if is_same || !network::is_recorded(&known.state) {
        return Ok(());
    }
    let failure = Failure::new(
        FailureClass::Blocked,
        "VSI0745",
        "a network that is made cannot be changed but for its deletionPolicy; nothing was changed",
    );
    let failure = failure
        .of_object(format!("network/{}", desired.full_name()))
        .on_host(&known.record.host)
        .with_remedy("undo the change, or give the new network another name");
    Err(FleetError::new(ErrorKind::Blocked, failure))
}

/// Checks that no other network that vsiflow makes on the host overlaps its addresses.
pub(super) fn free_of<'a>(
    record: &NetworkRecord,
    there: impl Iterator<Item = &'a NetworkRecord>,
) -> Result<(), FleetError> {
    let served = |one: &NetworkRecord| {
        let is_served = one.network.mode != NetworkMode::Bridge;
        one.network.cidr.filter(|_| is_served)
    };
    let Some(own) = served(record) else {
        return Ok(());
    };
    let mut others = there.filter(|other| other.host == record.host);
    let overlaps = |other: &&NetworkRecord| {
        served(other)
            .is_some_and(|cidr| cidr.contains(&own.network()) || own.contains(&cidr.network()))
    };
    let Some(other) = others.find(overlaps) else {
        return Ok(());
    };
    let cidr = other.network.cidr.map(|cidr| cidr.to_string());
    let message = format!(
        "{own} overlaps {} of network {}",
        cidr.unwrap_or_default(),
        other.network.full_name()
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0747", message)
        .of_object(format!("network/{}", record.network.full_name()))
        .on_host(&record.host)
        .with_remedy("choose another cidr, or let the VSIs share the network that is there");
    Err(FleetError::new(ErrorKind::Blocked, failure))
}
