//! What of a cluster is this operator's, where the journals of a set share it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure},
};
use vsiflow_workflows::{
    fleet::{EntityPresence, FleetError},
    record::{disk_entity, vsi_entity},
    spec::Resolved,
};

use super::{Controller, live::LiveResources};
use crate::{
    crd::ReferenceStatus,
    kind::ResourceKind,
    resource::Resource,
    resource_cache::Snapshot,
    share::{self, JournalShare, ResourceOwner},
    translate::Translation,
};

impl Controller {
    /// Leaves of the cluster, and of what it asks for, what is this operator's.
    pub(super) async fn keep_own(
        &mut self,
        all: Snapshot,
        translation: &mut Translation,
    ) -> Result<Snapshot, FleetError> {
        let Some(share) = self.share.clone() else {
            return Ok(all);
        };
        let journals = share.journals_of_hosts(&hosts(translation)).await?;
        let mut own = BTreeSet::new();
        let mut unclaimed = Vec::new();
        for resource in &all.resources {
            let host = host_of(resource, translation);
            let is_known = self.is_known(resource);
            match share::owner(share.number(), is_known, &host, &journals) {
                ResourceOwner::Own => _ = own.insert(resource.uid),
                ResourceOwner::Unclaimed => {
                    unclaimed.push((resource.clone(), is_worked_on(resource)));
                }
                ResourceOwner::Other => {}
            }
        }
        own.extend(self.own_of_unclaimed(&*share, &unclaimed).await?);
        let is_own = |host: &str| journals.get(host) == Some(&share.number());
        keep(translation, &own, is_own);
        let mut all = all;
        all.resources.retain(|resource| own.contains(&resource.uid));
        self.refuse_shared(&all, translation);
        Ok(all)
    }

    /// Records what is asked for.
    pub(super) async fn record(&self, resolved: Resolved, by: By) -> Result<(), FleetError> {
        let Some(share) = &self.share else {
            return self.fleet.apply(resolved, by).await.map(drop);
        };
        let live = self.live(&resolved);
        share.apply(resolved, by, &live).await
    }

    /// The resources of what is new in these.
    fn live(&self, resolved: &Resolved) -> LiveResources {
        let vsis = resolved.vsis.iter().map(|vsi| vsi.desired.uid);
        let disks = resolved.data_disks.iter().map(|disk| disk.uid);
        let uids: BTreeSet<_> = vsis.chain(disks).flatten().collect();
        let all = self.world.snapshot().resources.into_iter();
        let is_new = |one: &Arc<Resource>| uids.contains(&one.uid) && !self.is_known(one);
        LiveResources {
            client: self.client.clone(),
            resources: all.filter(is_new).collect(),
        }
    }

    /// Whether this journal knows a resource by its UID.
    pub(super) fn is_known(&self, resource: &Resource) -> bool {
        entity_of(resource)
            .is_some_and(|entity| self.fleet.knowledge(&entity) != EntityPresence::None)
    }

    /// Those of them that are no other journal's.
    async fn own_of_unclaimed(
        &mut self,
        share: &dyn JournalShare,
        unclaimed: &[(Arc<Resource>, bool)],
    ) -> Result<BTreeSet<Uuid>, FleetError> {
        let worked_on = unclaimed.iter().filter(|(_, is_worked_on)| *is_worked_on);
        let names: BTreeSet<_> = worked_on
            .filter_map(|(resource, _)| share::name_of(&resource.key))
            .collect();
        let claims = if names.is_empty() {
            BTreeMap::new()
        } else {
            share.journals_of_names(&names).await?
        };
        let mut own = BTreeSet::new();
        for (resource, is_worked_on) in unclaimed {
            let name = share::name_of(&resource.key);
            let claimed_by = name.as_ref().and_then(|name| claims.get(name).copied());
            if share::is_anothers(share.number(), *is_worked_on, claimed_by) {
                continue;
            }
            if self.may_be_elsewhere(share, resource, name).await? {
                // Whoever has it lets it go.
                self.unfinished = true;
                continue;
            }
            own.insert(resource.uid);
        }
        Ok(own)
    }

    /// Whether another journal may have what is to be let go.
    async fn may_be_elsewhere(
        &self,
        share: &dyn JournalShare,
        resource: &Resource,
        name: Option<String>,
    ) -> Result<bool, FleetError> {
        if !resource.is_deleting() || !resource.has_finalizer() {
            return Ok(false);
        }
        match (name, entity_of(resource)) {
            (Some(name), Some(entity)) => share.may_be_elsewhere(&name, &entity).await,
            _ => Ok(false),
        }
    }

    /// Takes out, and says of the resource, what only one journal by itself serves.
    fn refuse_shared(&mut self, all: &Snapshot, translation: &mut Translation) {
        for resource in &all.resources {
            if let Some(failure) = self.not_shared(resource, translation) {
                translation.vsis.remove(&resource.uid);
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
        if share::concerns_several(key.kind) {
            return Some(share::not_served(
                key,
                &format!("it is a {}", key.kind.name()),
            ));
        }
        let vsi = translation.vsis.get(&resource.uid);
        if vsi.is_some_and(|vsi| !vsi.desired.made_networks.is_empty()) {
            return Some(share::not_served(key, "it is on a VirtualServerNetwork"));
        }
        if self.is_known(resource) || resource.is_deleting() {
            return None;
        }
        if resource.is_to_be_adopted() {
            return Some(share::not_served(key, "it is to be adopted"));
        }
        without_host(resource, translation)
    }
}

/// Whether it is said of a resource because the cluster is shared.
fn is_of_share(failure: &Failure) -> bool {
    failure.code.as_str() == share::NOT_SERVED
}

/// The hosts of everything that is to be somewhere.
fn hosts(translation: &Translation) -> BTreeSet<String> {
    let vsis = translation.vsis.values();
    let of_vsis = vsis.map(|vsi| vsi.desired.host.as_str());
    let disks = translation.rest.data_disks.iter();
    let disks = disks.map(|disk| disk.host.as_str());
    let others = translation.hosts.values().map(String::as_str);
    let all = of_vsis.chain(disks).chain(others);
    all.filter(|host| !host.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The host of a resource, as it asks for it; empty where it does not say, or cannot be read.
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
        _ => None,
    }
}

/// Whether a status says that a journal worked on it.
pub(super) fn is_worked_on(resource: &Resource) -> bool {
    if resource.key.kind.is_vsi() {
        return resource.progress().run_id.is_some();
    }
    let status: ReferenceStatus = resource.status_as();
    status.run_id.is_some()
}

/// Leaves what is of these resources, and of hosts of this journal.
fn keep(translation: &mut Translation, own: &BTreeSet<Uuid>, is_own: impl Fn(&str) -> bool) {
    translation.vsis.retain(|uid, _| own.contains(uid));
    let rest = &mut translation.rest;
    let is_there = |uid: Option<Uuid>| uid.is_some_and(|uid| own.contains(&uid));
    rest.data_disks.retain(|disk| is_there(disk.uid));
    rest.hosts.retain(|host, _| is_own(host));
    translation.pools.clear();
    translation.groups.clear();
    rest.quotas.clear();
    rest.networks.clear();
    rest.snapshots.clear();
}

/// Why what has no host is not recorded: no journal is the one to do that.
fn without_host(resource: &Resource, translation: &Translation) -> Option<Failure> {
    let vsi = translation.vsis.get(&resource.uid);
    let mut disks = translation.rest.data_disks.iter();
    let disk = disks.find(|disk| disk.uid == Some(resource.uid));
    let host = match (vsi, disk) {
        (Some(vsi), _) => &vsi.desired.host,
        (None, Some(disk)) => &disk.host,
        (None, None) => return None,
    };
    let is_open = host.is_empty();
    is_open.then(|| share::not_served(&resource.key, "its host is to be chosen of several"))
}
