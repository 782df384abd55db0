//! Applies the pools and groups of the cluster to the fleet, and finalizes those that are deleted.

use std::collections::BTreeMap;

use serde_json::Value;
use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Hash};
use vsiflow_workflows::{
    fleet::{EntityPresence, ShownPool},
    record::{group_entity, pool_entity},
    spec::{Resolved, ResolvedGroup, ResolvedPool},
};

use super::{
    Controller,
    apply_request::{generation_reason, host_bytes},
    by,
    claims::MemberClaims,
    marks,
    members::{ForeignServers, Owners, PoolOwner},
    recorded::AppliedGeneration,
};
use crate::{
    api::{self, CallError},
    crd::{GroupResourceStatus, PoolResourceStatus},
    kind::ResourceKind,
    resource::Resource,
    resource_cache::Snapshot,
    status_queue::{Hold, StatusFindings},
    translate::Translation,
};

impl Controller {
    /// The UID by which the fleet knows a resource's pool or group: the resource's own, or, if the
    /// resource asks for adoption, the UID of the existing one with its name.
    pub(super) async fn pool_uid(&self, resource: &Resource) -> Uuid {
        let own = resource.uid;
        let entity = entity_of(resource.key.kind, own);
        let is_known = entity.is_some_and(|one| self.fleet.knowledge(&one) != EntityPresence::None);
        if is_known || !resource.is_to_be_adopted() {
            return own;
        }
        let (namespace, name) = (&resource.key.namespace, &resource.key.name);
        let found = match resource.key.kind {
            ResourceKind::Group => self.fleet.groups().uid(namespace, name).await,
            _ => self.fleet.pools().uid(namespace, name).await,
        };
        found.ok().flatten().unwrap_or(own)
    }

    /// Why a pool must not be applied to the fleet, if there is a reason.
    pub(super) async fn pool_hold(&self, resource: &Resource) -> Option<Hold> {
        let entity = entity_of(resource.key.kind, self.pool_uid(resource).await)?;
        match self.fleet.knowledge(&entity) {
            EntityPresence::None if was_served(resource) => Some(Hold::JournalLost),
            EntityPresence::Gone => Some(Hold::Removed),
            _ => None,
        }
    }

    /// Asks the fleet to delete a pool, once. Returns whether it and the objects of its members are
    /// deleted.
    pub(super) async fn pool_may_finalize(
        &mut self,
        resource: &Resource,
        claims: &MemberClaims,
        findings: &mut StatusFindings,
    ) -> bool {
        let uid = self.pool_uid(resource).await;
        findings.vsi = Some(uid);
        let Some(entity) = entity_of(resource.key.kind, uid) else {
            return false;
        };
        let key = &resource.key;
        let has_members = match key.kind {
            ResourceKind::Group => claims.has_members_of_group(&key.namespace, &key.name),
            _ => claims.has_members_of(uid),
        };
        let orphan = resource.is_orphaned();
        match self.fleet.knowledge(&entity) {
            EntityPresence::Alive => {
                self.request_deletion(resource, &entity, orphan).await;
                false
            }
            EntityPresence::Gone => !has_members,
            // Another pool of its name may exist, for which it does not wait.
            EntityPresence::None if resource.is_to_be_adopted() => !has_members,
            EntityPresence::None if was_served(resource) && !orphan => {
                findings.hold = Some(Hold::JournalLost);
                false
            }
            EntityPresence::None => true,
        }
    }

    async fn request_deletion(&mut self, resource: &Resource, entity: &EntityId, orphan: bool) {
        if self.removals.get(&resource.uid) == Some(&orphan) {
            return;
        }
        let by = by(&resource.manager, &resource.deletion_reason());
        let namespace = &resource.key.namespace;
        let id = entity.id();
        let deleted = match resource.key.kind {
            ResourceKind::Group => self.fleet.groups().delete(namespace, id, orphan, by).await,
            _ => self.fleet.pools().delete(namespace, id, orphan, by).await,
        };
        match deleted {
            Ok(_) => {
                self.removals.insert(resource.uid, orphan);
                self.refused.remove(&resource.uid);
            }
            Err(error) => {
                self.unfinished = true;
                self.refused.insert(resource.uid, *error.failure);
            }
        }
    }

    /// Whether the resource of a pool or a group is to be applied to the fleet.
    async fn is_applied(&self, resource: &Resource) -> bool {
        let stays = !resource.is_deleting() && resource.has_finalizer();
        stays && self.pool_hold(resource).await.is_none()
    }

    /// Applies each pool that differs from what was applied last.
    pub(super) async fn apply_pools(
        &mut self,
        snapshot: &Snapshot,
        claims: &MemberClaims,
        pools: &[ShownPool],
        translation: &Translation,
    ) {
        let foreign = ForeignServers::new(snapshot, claims);
        let by_uid: BTreeMap<_, _> = pools.iter().map(|pool| (pool.uid, pool)).collect();
        for resource in &snapshot.resources {
            let Some(pool) = translation.pools.get(&resource.uid) else {
                continue;
            };
            if !self.is_applied(resource).await {
                continue;
            }
            self.heartbeat();
            let uid = self.pool_uid(resource).await;
            let shown = by_uid.get(&uid);
            let present = shown.map_or(1, |one| one.replicas);
            let desired = &pool.desired;
            let replicas = desired.replicas.unwrap_or(present);
            if let Some(failure) = foreign.refusal(desired, replicas) {
                self.refused.insert(resource.uid, failure);
                self.status_queue.dirty_uid(&resource.uid);
                continue;
            }
            self.apply_pool(resource, uid, pool, translation).await;
            if let (None, Some(shown)) = (desired.replicas, shown) {
                self.write_replicas(resource, shown.replicas).await;
            }
        }
    }

    async fn apply_pool(
        &mut self,
        resource: &Resource,
        uid: Uuid,
        pool: &ResolvedPool,
        translation: &Translation,
    ) {
        let print = print(pool, uid, &translation.rest);
        let generation = AppliedGeneration::of(resource, print);
        if self.is_in_fleet(generation) {
            return;
        }
        let mut pool = pool.clone();
        pool.desired.uid = Some(uid);
        pool.desired.of_shared_cluster = self.share.is_some();
        let resolved = Resolved {
            hosts: translation
                .rest
                .hosts_of(pool.template.desired.possible_hosts()),
            pools: vec![pool],
            ..translation.rest.alone()
        };
        let by = by(&resource.manager, &generation_reason(resource.generation));
        let applied = self.record(resolved, by).await;
        self.record_result(generation, applied.err());
    }

    /// Applies each group that differs from what was applied last.
    pub(super) async fn apply_groups(
        &mut self,
        snapshot: &Snapshot,
        claims: &MemberClaims,
        pools: &[ShownPool],
        translation: &Translation,
    ) {
        let foreign = ForeignServers::new(snapshot, claims);
        let replicas = pools.iter();
        let replicas = replicas.map(|one| ((&*one.namespace, &*one.name), one.replicas));
        let replicas: BTreeMap<_, _> = replicas.collect();
        for resource in &snapshot.resources {
            let Some(group) = translation.groups.get(&resource.uid) else {
                continue;
            };
            if !self.is_applied(resource).await {
                continue;
            }
            self.heartbeat();
            let uid = self.pool_uid(resource).await;
            let removed = match self.fleet.groups().removed_items(uid).await {
                Ok(removed) => removed,
                Err(error) => {
                    self.unfinished = true;
                    self.refused.insert(resource.uid, *error.failure);
                    continue;
                }
            };
            let stay = group.items().filter(|item| !removed.contains(&item.name));
            let refusal = stay.map(|item| &item.pool.desired).find_map(|desired| {
                let present = replicas.get(&(&*desired.namespace, &*desired.name));
                let present = present.copied().unwrap_or(1);
                foreign.refusal(desired, desired.replicas.unwrap_or(present))
            });
            if let Some(failure) = refusal {
                self.refused.insert(resource.uid, failure);
                self.status_queue.dirty_uid(&resource.uid);
                continue;
            }
            self.apply_group(resource, uid, group, translation).await;
        }
    }

    async fn apply_group(
        &mut self,
        resource: &Resource,
        uid: Uuid,
        group: &ResolvedGroup,
        translation: &Translation,
    ) {
        let print = print_of_group(group, uid, &translation.rest);
        let generation = AppliedGeneration::of(resource, print);
        if self.is_in_fleet(generation) {
            return;
        }
        let hosts = group.items();
        let hosts = hosts.flat_map(|item| item.pool.template.desired.possible_hosts());
        let resolved = Resolved {
            hosts: translation.rest.hosts_of(hosts),
            groups: vec![ResolvedGroup {
                uid: Some(uid),
                of_shared_cluster: self.share.is_some(),
                ..group.clone()
            }],
            ..translation.rest.alone()
        };
        let by = by(&resource.manager, &generation_reason(resource.generation));
        let applied = self.record(resolved, by).await;
        self.record_result(generation, applied.err());
    }

    /// Writes the number of members of a pool into a resource without one: `kubectl scale` and
    /// autoscalers need the field.
    async fn write_replicas(&mut self, resource: &Resource, replicas: u32) {
        match api::set_replicas(&self.client, resource, replicas).await {
            Ok(Some(patched)) => self.cache.update(patched),
            Ok(None) | Err(CallError::Gone) => {}
            Err(CallError::Conflict) => self.cache.poke(),
            Err(error) => {
                self.unfinished = true;
                tracing::warn!(
                    "{} cannot be updated with its number of replicas: {error}",
                    resource.key
                );
            }
        }
    }

    /// The resources that describe pools: a pool's own, or that of its group.
    pub(super) async fn owners(&self, snapshot: &Snapshot, pools: &[ShownPool]) -> Owners {
        let mut owners = Owners::new();
        // A group describes its pools.
        let mut described = BTreeMap::<_, Vec<&ShownPool>>::new();
        for pool in pools {
            let by = pool.of_group.as_ref().map_or(pool.uid, |of| of.uid);
            described.entry(by).or_default().push(pool);
        }
        for resource in &snapshot.resources {
            if !resource.key.kind.has_members() {
                continue;
            }
            let uid = self.pool_uid(resource).await;
            let key = &resource.key;
            let here = described.get(&uid).into_iter().flatten();
            for pool in here.filter(|pool| pool.namespace == key.namespace) {
                let template = match (&pool.of_group, key.kind) {
                    (Some(of), ResourceKind::Group) => template_of_item(&resource.spec, &of.item),
                    (None, ResourceKind::Pool) if pool.name == key.name => {
                        resource.spec.get("template").cloned()
                    }
                    _ => continue,
                };
                let recorded = self.recorded.get(&resource.uid);
                let is_recorded = recorded == Some(&resource.generation);
                let spec = template.as_ref().and_then(|template| template.get("spec"));
                let annotations = template.as_ref().filter(|_| is_recorded);
                let owner = PoolOwner {
                    resource: resource.clone(),
                    uid,
                    annotations: annotations.map(marks::of_template).unwrap_or_default(),
                    template: spec.cloned(),
                    is_recorded,
                };
                owners.insert(pool.uid, owner);
            }
        }
        owners
    }

    /// Passes approvals of templates from the cluster to the fleet.
    pub(super) async fn approve_templates(&mut self, snapshot: &Snapshot) {
        for resource in &snapshot.resources {
            let is_pool = resource.key.kind == ResourceKind::Pool && !resource.is_deleting();
            let Some(id) = resource.approves().filter(|_| is_pool) else {
                continue;
            };
            let uid = self.pool_uid(resource).await;
            let by = by(&resource.manager, "the resource approves it");
            let approved = self.fleet.pools().approve_template(uid, id, by);
            match Box::pin(approved).await {
                Ok(false) => {}
                Ok(true) => self.status_queue.dirty_uid(&resource.uid),
                Err(error) => {
                    self.unfinished = true;
                    self.refused.insert(resource.uid, *error.failure);
                }
            }
        }
    }
}

fn entity_of(kind: ResourceKind, uid: Uuid) -> Option<EntityId> {
    match kind {
        ResourceKind::Group => group_entity(uid).ok(),
        _ => pool_entity(uid).ok(),
    }
}

/// Whether a journal served this resource before, by its status.
fn was_served(resource: &Resource) -> bool {
    match resource.key.kind {
        ResourceKind::Group => resource
            .status_as::<GroupResourceStatus>()
            .progress
            .is_some(),
        _ => resource
            .status_as::<PoolResourceStatus>()
            .revision
            .is_some(),
    }
}

/// The template of one member or pool in a group's resource.
fn template_of_item(spec: &Value, name: &str) -> Option<Value> {
    let list = |value: &Value, key: &str| value.get(key).and_then(Value::as_array).cloned();
    let waves = list(spec, "waves")?.into_iter();
    let mut items = waves.flat_map(|wave| {
        let lists = ["members", "pools"].map(|key| list(&wave, key).unwrap_or_default());
        lists.into_iter().flatten()
    });
    let found = items.find(|item| item.get("name").and_then(Value::as_str) == Some(name))?;
    found.get("template").cloned()
}

fn print_of_group(group: &ResolvedGroup, uid: Uuid, rest: &Resolved) -> Hash {
    let (labels, release, outputs) = (&group.labels, &group.release, &group.outputs);
    let mut text = format!("{uid} {labels:?} {release:?} {outputs:?} ");
    for wave in &group.waves {
        text.push_str(&format!("{} {:?} ", wave.name, wave.gate));
        for item in &wave.items {
            let pool = print(&item.pool, uid, rest);
            text.push_str(&format!("{} {:?} {pool} ", item.name, item.remove_after));
        }
    }
    Hash::of(text.as_bytes())
}

/// Everything that matters for one pool, including secrets, as a hash that is never stored.
fn print(pool: &ResolvedPool, uid: Uuid, rest: &Resolved) -> Hash {
    let mut bytes = format!("{uid} {:?} ", pool.desired).into_bytes();
    bytes.extend(serde_json::to_vec(&pool.template.desired).unwrap_or_default());
    let secrets = [
        Some(&pool.template.contract),
        pool.template.image_url.as_ref(),
    ];
    for secret in secrets.into_iter().flatten() {
        bytes.push(0);
        bytes.extend_from_slice(secret.expose());
    }
    for host in pool.template.desired.possible_hosts() {
        host_bytes(&mut bytes, host, rest);
    }
    Hash::of(&bytes)
}
