//! Decides which resources of a cluster this operator serves, if the journals of a set share it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Hash},
};
use vsiflow_workflows::{
    fleet::{EntityPresence, FleetError, NetworkName, is_open},
    record::{disk_entity, snapshot_entity, vsi_entity},
    spec::{Resolved, ResolvedPool, group::ResolvedGroup},
};

use super::{
    Controller,
    claims::MemberClaims,
    decisions,
    live::{self, LiveResources},
};
use crate::{
    crd::ReferenceStatus,
    kind::ResourceKind,
    resource::{Resource, ResourceKey},
    resource_cache::Snapshot,
    share::{self, JournalShare, ResourceDecision, ResourceOwner},
    translate::Translation,
};

/// Refuses new entities and networks that have no resource any more.
fn refuse_gone(
    resources: &[Arc<Resource>],
    new: &BTreeSet<Uuid>,
    networks: &BTreeSet<NetworkName>,
) -> Result<(), FleetError> {
    let gone = new
        .iter()
        .find(|uid| resources.iter().all(|one| one.uid != **uid));
    if let Some(uid) = gone {
        return Err(live::deleted_meanwhile(uid));
    }
    let is_of = |one: &Arc<Resource>, (namespace, name): &NetworkName| {
        let key = &one.key;
        key.kind == ResourceKind::Network && (&key.namespace, &key.name) == (namespace, name)
    };
    let gone_network = networks
        .iter()
        .find(|network| !resources.iter().any(|one| is_of(one, network)));
    gone_network.map_or(Ok(()), |(namespace, name)| {
        Err(live::deleted_meanwhile(format!(
            "network {namespace}/{name}"
        )))
    })
}

impl Controller {
    /// Reduces the snapshot and the translation to what this operator serves.
    pub(super) async fn retain_own(
        &mut self,
        cluster: &Snapshot,
        claims: &MemberClaims,
        translation: &mut Translation,
        decided: &BTreeMap<Uuid, ResourceDecision>,
    ) -> Result<Snapshot, FleetError> {
        let mut all = cluster.clone();
        let Some(share) = self.share.clone() else {
            return Ok(all);
        };
        let journals = share.journals_of_hosts(&hosts(translation)).await?;
        self.insert_chosen_hosts(decided, translation);
        let of_snapshots = self.homes_of_snapshots(&*share, translation).await?;
        let mut own = BTreeSet::new();
        let mut unclaimed = Vec::new();
        for resource in &cluster.resources {
            if claims.of(resource).is_some() {
                if !claims.is_elsewhere(resource) {
                    own.insert(resource.uid);
                }
                continue;
            }
            if resource.key.kind.has_members() {
                if share.number() == share::DECIDES {
                    own.insert(resource.uid);
                }
                continue;
            }
            let by_host = || share::home_of(&host_of(resource, translation), &journals);
            let of_vsi = of_snapshots.get(&resource.uid).copied();
            let home = of_vsi.or_else(by_host);
            match share::owner(share.number(), self.is_known(resource), home) {
                ResourceOwner::Own => _ = own.insert(resource.uid),
                ResourceOwner::Unclaimed => {
                    let open = translation.vsis.get(&resource.uid);
                    unclaimed.push(UnclaimedResource {
                        resource: resource.clone(),
                        is_worked_on: is_worked_on(resource),
                        choice: open.filter(|vsi| is_open(vsi)).map(decisions::asked_print),
                    });
                }
                ResourceOwner::Other => {}
            }
        }
        own.extend(self.own_of_unclaimed(&*share, &unclaimed).await?);
        let is_own = |host: &str| journals.get(host) == Some(&share.number());
        retain_own(translation, &own, is_own);
        if share.number() != share::DECIDES {
            translation.rest.quotas.clear();
            translation.pools.clear();
            translation.groups.clear();
        }
        let admission = self.refresh_limits(&*share, translation, decided);
        self.admission = admission.await?;
        all.resources.retain(|resource| own.contains(&resource.uid));
        self.refuse_shared(&all, translation);
        Ok(all)
    }

    /// Records the desired state, in the fleet or through the share.
    pub(super) async fn record(&self, resolved: Resolved, by: By) -> Result<(), FleetError> {
        let Some(share) = &self.share else {
            return self.fleet.apply(resolved, by).await.map(drop);
        };
        let live = self.live(&resolved).await?;
        let admitted = self.admission.limited();
        share.apply(resolved, by, &live, admitted).await
    }

    /// The resources of new entities in `resolved`, and of the networks that are made for them. What is to be
    /// recorded may be older than the cache, so a resource may be gone from it.
    ///
    /// # Errors
    /// When one of them is gone, or the journal cannot be read.
    pub(super) async fn live(&self, resolved: &Resolved) -> Result<LiveResources, FleetError> {
        let vsis = resolved.vsis.iter().filter_map(|vsi| vsi.desired.uid);
        let vsis = vsis.map(|uid| (uid, vsi_entity(uid)));
        let disks = resolved.data_disks.iter().filter_map(|disk| disk.uid);
        let disks = disks.map(|uid| (uid, disk_entity(uid)));
        let snapshots = resolved.snapshots.iter().filter_map(|one| one.uid);
        let snapshots = snapshots.map(|uid| (uid, snapshot_entity(uid)));
        let is_new = |entity: &EntityId| self.fleet.knowledge(entity) == EntityPresence::None;
        let new = vsis.chain(disks).chain(snapshots);
        let new = new.filter(|(_, entity)| entity.as_ref().is_ok_and(is_new));
        let new: BTreeSet<_> = new.map(|(uid, _)| uid).collect();
        let networks = self.new_networks(resolved).await?;
        let mut resources = Vec::new();
        if !new.is_empty() || !networks.is_empty() {
            resources = self.cache.snapshot().resources;
            resources.retain(|one| {
                let key = &one.key;
                let is_network = key.kind == ResourceKind::Network
                    && networks.contains(&(key.namespace.clone(), key.name.clone()));
                is_network || new.contains(&one.uid)
            });
            refuse_gone(&resources, &new, &networks)?;
        }
        Ok(LiveResources {
            client: self.client.clone(),
            resources,
        })
    }

    /// The networks that are made for what is about to be recorded.
    async fn new_networks(&self, resolved: &Resolved) -> Result<BTreeSet<NetworkName>, FleetError> {
        let vsis = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let made = vsis.flat_map(|vsi| {
            let networks = vsi.made_networks.values();
            networks.map(|network| (&vsi.host, (network.namespace.clone(), network.name.clone())))
        });
        let made: Vec<_> = made.collect();
        if made.is_empty() {
            return Ok(BTreeSet::new());
        }
        let places = self.fleet.networks().places().await?;
        let is_there = |host: &String, network: &NetworkName| {
            places
                .get(network)
                .is_some_and(|hosts| hosts.contains(host))
        };
        let new = made.into_iter();
        let new = new.filter(|(host, network)| !is_there(host, network));
        Ok(new.map(|(_, network)| network).collect())
    }

    /// The journals of snapshots that this journal does not know: those that have their VSIs. If no
    /// journal has the VSI, no snapshot is taken and it is left out here.
    async fn homes_of_snapshots(
        &self,
        share: &dyn JournalShare,
        translation: &Translation,
    ) -> Result<BTreeMap<Uuid, u16>, FleetError> {
        let mut vsis = BTreeMap::new();
        for snapshot in &translation.rest.snapshots {
            let Some(uid) = snapshot.uid else { continue };
            let known = snapshot_entity(uid).map(|entity| self.fleet.knowledge(&entity));
            if known.is_ok_and(|known| known == EntityPresence::None) {
                let vsi = &snapshot.spec.virtual_server;
                vsis.insert(uid, share::name_of_vsi(&snapshot.namespace, vsi));
            }
        }
        if vsis.is_empty() {
            return Ok(BTreeMap::new());
        }
        let names = vsis.values().cloned().collect();
        let journals = share.journals_of_names(&names).await?;
        let homes = vsis.into_iter();
        let homes = homes.filter_map(|(uid, vsi)| Some((uid, *journals.get(&vsi)?)));
        Ok(homes.collect())
    }

    /// Whether this journal knows a resource by its UID.
    pub(super) fn is_known(&self, resource: &Resource) -> bool {
        entity_of(resource)
            .is_some_and(|entity| self.fleet.knowledge(&entity) != EntityPresence::None)
    }

    /// Those of the unclaimed resources that no other journal has.
    async fn own_of_unclaimed(
        &mut self,
        share: &dyn JournalShare,
        unclaimed: &[UnclaimedResource],
    ) -> Result<BTreeSet<Uuid>, FleetError> {
        let may_be_claimed = unclaimed.iter().filter(|one| one.may_be_claimed());
        let names: BTreeSet<_> = may_be_claimed.filter_map(UnclaimedResource::name).collect();
        let claims = if names.is_empty() {
            BTreeMap::new()
        } else {
            share.journals_of_names(&names).await?
        };
        let mut own = BTreeSet::new();
        for one in unclaimed {
            let name = one.name();
            let claimed_by = name.as_ref().and_then(|name| claims.get(name).copied());
            let elsewhere = claimed_by.filter(|journal| *journal != share.number());
            if share::is_anothers(share.number(), one.is_worked_on, claimed_by) {
                continue;
            }
            // The journal that has it finalizes it or reports its status.
            if self.is_elsewhere(share, one, name, elsewhere).await? {
                self.unfinished = true;
                continue;
            }
            own.insert(one.resource.uid);
        }
        let open = unclaimed.iter().filter(|one| one.choice.is_some());
        self.decisions.want(open.map(|one| one.resource.uid));
        Ok(own)
    }

    /// Whether another journal may have the resource, or is to get it.
    async fn is_elsewhere(
        &mut self,
        share: &dyn JournalShare,
        one: &UnclaimedResource,
        name: Option<String>,
        claimed_by: Option<u16>,
    ) -> Result<bool, FleetError> {
        let resource = &one.resource;
        if let Some(print) = one.choice {
            let place = (resource.uid, resource.key.namespace.as_str());
            if self.is_being_decided(share, place, print).await? {
                return Ok(true);
            }
        }
        let is_let_go = resource.is_deleting() && resource.has_finalizer();
        let was_chosen = one.choice.is_some() && claimed_by.is_some();
        match (name, entity_of(resource)) {
            (Some(name), Some(entity)) if is_let_go || was_chosen => {
                share.may_be_elsewhere(&name, &entity).await
            }
            _ => Ok(false),
        }
    }

    /// Removes, and marks as refused, what is not served in a shared cluster.
    fn refuse_shared(&mut self, all: &Snapshot, translation: &mut Translation) {
        for resource in &all.resources {
            if let Some(failure) = self.not_shared(resource, translation) {
                translation.vsis.remove(&resource.uid);
                translation.pools.remove(&resource.uid);
                translation.groups.remove(&resource.uid);
                let disks = &mut translation.rest.data_disks;
                disks.retain(|disk| disk.uid != Some(resource.uid));
                self.refused.insert(resource.uid, failure);
            } else if self.refused.get(&resource.uid).is_some_and(is_of_share) {
                self.refused.remove(&resource.uid);
            }
        }
    }

    fn not_shared(&self, resource: &Resource, translation: &Translation) -> Option<Failure> {
        let key = &resource.key;
        if key.kind.has_members() {
            return pools_of(resource.uid, translation).find_map(|pool| not_served_pool(key, pool));
        }
        let is_snapshot = key.kind == ResourceKind::Snapshot;
        if is_snapshot || self.is_known(resource) || resource.is_deleting() {
            return None;
        }
        without_host(resource, translation)
    }
}

/// A resource that this journal does not know and that is meant for one of its hosts, or has no host
/// yet.
struct UnclaimedResource {
    resource: Arc<Resource>,
    is_worked_on: bool,
    /// Hash of what the choice of a host depends on, if a host must be chosen.
    choice: Option<Hash>,
}

impl UnclaimedResource {
    fn name(&self) -> Option<String> {
        share::name_of(&self.resource.key)
    }

    /// Whether a journal may have claimed its name already.
    fn may_be_claimed(&self) -> bool {
        self.is_worked_on || self.choice.is_some()
    }
}

/// Whether a failure was reported because the cluster is shared.
fn is_of_share(failure: &Failure) -> bool {
    failure.code.as_str() == share::NOT_SERVED
}

/// The hosts of everything in the translation.
fn hosts(translation: &Translation) -> BTreeSet<String> {
    let vsis = translation.vsis.values();
    let of_vsis = vsis.flat_map(|vsi| vsi.desired.possible_hosts());
    let disks = translation.rest.data_disks.iter();
    let disks = disks.map(|disk| disk.host.as_str());
    let others = translation.hosts.values().map(String::as_str);
    let of_pools = all_pools(translation);
    let of_pools = of_pools.flat_map(|pool| pool.template.desired.possible_hosts());
    let all = of_vsis.chain(disks).chain(others).chain(of_pools);
    all.filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect()
}

/// All pools, including those of groups.
pub(super) fn all_pools(translation: &Translation) -> impl Iterator<Item = &ResolvedPool> {
    let items = translation.groups.values().flat_map(ResolvedGroup::items);
    translation
        .pools
        .values()
        .chain(items.map(|item| &item.pool))
}

/// The host that a resource asks for; empty if it does not name one or cannot be read.
fn host_of(resource: &Resource, translation: &Translation) -> String {
    if let Some(vsi) = translation.vsis.get(&resource.uid) {
        return vsi.desired.host.clone();
    }
    let mut disks = translation.rest.data_disks.iter();
    let disk = disks.find(|disk| disk.uid == Some(resource.uid));
    let of_disk = disk.map(|disk| disk.host.clone());
    let known = || translation.hosts.get(&resource.key).cloned();
    of_disk.or_else(known).unwrap_or_default()
}

fn entity_of(resource: &Resource) -> Option<EntityId> {
    match resource.key.kind {
        ResourceKind::Vsi | ResourceKind::VirtualServer => vsi_entity(resource.uid).ok(),
        ResourceKind::DataDisk => disk_entity(resource.uid).ok(),
        ResourceKind::Snapshot => snapshot_entity(resource.uid).ok(),
        _ => None,
    }
}

/// Whether its status shows that a journal worked on it.
pub(super) fn is_worked_on(resource: &Resource) -> bool {
    if resource.key.kind.is_vsi() {
        return resource.progress().run_id.is_some();
    }
    let status: ReferenceStatus = resource.status_as();
    status.run_id.is_some()
}

/// Retains only what belongs to these resources and to hosts of this journal.
fn retain_own(translation: &mut Translation, own: &BTreeSet<Uuid>, is_own: impl Fn(&str) -> bool) {
    translation.vsis.retain(|uid, _| own.contains(uid));
    let rest = &mut translation.rest;
    let is_there = |uid: Option<Uuid>| uid.is_some_and(|uid| own.contains(&uid));
    rest.data_disks.retain(|disk| is_there(disk.uid));
    rest.hosts.retain(|host, _| is_own(host));
    rest.networks.clear();
    rest.snapshots.retain(|snapshot| is_there(snapshot.uid));
}

/// The pools that a resource asks for, including those of a group, as far as their documents are whole.
fn pools_of(uid: Uuid, translation: &Translation) -> impl Iterator<Item = &ResolvedPool> {
    let items = translation.groups.get(&uid).into_iter();
    let items = items.flat_map(ResolvedGroup::whole_items);
    let own = translation.pools.get(&uid).into_iter();
    own.chain(items.map(|item| &item.pool))
}

fn not_served_pool(key: &ResourceKey, pool: &ResolvedPool) -> Option<Failure> {
    let template = &pool.template.desired;
    let is_nowhere = template.host.is_empty() && template.placement.is_none();
    let why = "nothing says on which hosts its members are to be";
    is_nowhere.then(|| share::not_served(key, why))
}

/// Why a resource without a host is not recorded: no journal is responsible for it.
fn without_host(resource: &Resource, translation: &Translation) -> Option<Failure> {
    let key = &resource.key;
    let not_served = || share::not_served(key, "nothing says on which host it is to be");
    let Some(vsi) = translation.vsis.get(&resource.uid) else {
        let mut disks = translation.rest.data_disks.iter();
        let disk = disks.find(|disk| disk.uid == Some(resource.uid))?;
        return disk.host.is_empty().then(not_served);
    };
    if !vsi.desired.host.is_empty() || is_open(vsi) {
        return None;
    }
    let Some(lacks) = vsi.unresolved_refs.first() else {
        return Some(not_served());
    };
    let failure = Failure::new(FailureClass::Blocked, share::NOT_SERVED, &lacks.message);
    Some(
        failure
            .of_object(key.to_string())
            .with_remedy(&lacks.remedy),
    )
}
