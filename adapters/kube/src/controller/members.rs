//! Objects of pool members: each member of the journal has a VirtualServer in the cluster.
//!
//! The journal comes first: a member is recorded, then its object is created. The object is deleted
//! after its member. Deleting an object deletes the member; any other change to it is corrected.
//!
//! If the journals of a set share the cluster, journal 0 has the pools and creates the objects. The
//! journal of a member's host has the member, reports its status and finalizes its object.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{StreamExt as _, stream};
use serde_json::Value;
use uuid::Uuid;
use vsiflow_engine::model::{Failure, FailureClass, Hash};
use vsiflow_workflows::{
    fleet::{EntityPresence, PoolMembership, ShownMember, ShownPool},
    group, pool,
    record::vsi_entity,
    spec::DesiredPool,
};

use super::{
    Controller, by,
    claims::{MemberClaim, MemberClaims},
    marks::{self, Marks, TemplateMarks},
};
use crate::{
    api::{self, CallError, MemberObject, RemovedMarks},
    kind::ResourceKind,
    resource::{Resource, ResourceKey},
    resource_cache::Snapshot,
    share::DECIDES,
    status_queue::{Hold, StatusFindings},
};

/// Concurrent calls to the API server.
const MAX_CALLS: usize = 8;

/// The resource that describes a pool.
#[derive(Clone)]
pub(super) struct PoolOwner {
    pub(super) resource: Arc<Resource>,
    /// The UID by which the fleet knows the pool or group.
    pub(super) uid: Uuid,
    /// The template of its members, as in the resource.
    pub(super) template: Option<Value>,
    /// The annotations of the template; none while the resource is refused.
    pub(super) annotations: Marks,
    /// Whether the template is recorded as it is in the resource.
    pub(super) is_recorded: bool,
}

/// The pools of members.
pub(super) struct MemberPools<'a> {
    by_uid: BTreeMap<Uuid, &'a ShownPool>,
    /// The resources of pools and groups that are being deleted.
    leaving: BTreeMap<&'a ResourceKey, &'a Resource>,
}

impl<'a> MemberPools<'a> {
    pub(super) fn new(pools: &'a [ShownPool], cluster: &'a Snapshot) -> Self {
        let leaving = cluster.resources.iter();
        let leaving = leaving.filter(|one| one.key.kind.has_members() && one.is_deleting());
        Self {
            by_uid: pools.iter().map(|pool| (pool.uid, pool)).collect(),
            leaving: leaving.map(|one| (&one.key, &**one)).collect(),
        }
    }

    /// Whether the resource of a member's pool, or of its group, is being deleted. A refused resource with the name
    /// of either describes neither.
    fn is_leaving(&self, of: &PoolMembership, group: Option<Uuid>) -> bool {
        let (kind, name) = match &of.group {
            Some(name) => (ResourceKind::Group, name),
            None => (ResourceKind::Pool, &of.of.pool),
        };
        let key = ResourceKey {
            kind,
            namespace: of.namespace.clone(),
            name: name.clone(),
        };
        let uid = of.group.as_ref().map_or(Some(of.of.uid), |_| group);
        self.leaving.get(&key).is_some_and(|leaving| {
            uid.is_none_or(|uid| leaving.uid == uid) || leaving.is_to_be_adopted()
        })
    }
}

/// The VirtualServers that are no members' objects, by namespace and name.
pub(super) struct ForeignServers<'a>(BTreeSet<(&'a str, &'a str)>);

impl<'a> ForeignServers<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, claims: &MemberClaims) -> Self {
        let servers = snapshot.resources.iter().filter(|one| {
            one.key.kind == ResourceKind::VirtualServer
                && !matches!(claims.of(one), Some(MemberClaim::Member { .. }))
        });
        Self(
            servers
                .map(|one| (&*one.key.namespace, &*one.key.name))
                .collect(),
        )
    }

    /// Finds one that has the name of a member of a pool with so many members.
    pub(super) fn refusal(&self, desired: &DesiredPool, replicas: u32) -> Option<Failure> {
        let (namespace, pool) = (&desired.namespace, &desired.name);
        let mut names = (0..replicas).map(|number| pool::member_name(pool, number));
        let name = names.find(|name| self.0.contains(&(&**namespace, &**name)))?;
        let message = format!("{name} is a VirtualServer that pool/{pool} did not make");
        let remedy = "delete that VirtualServer, or give the pool another name; the pool never takes it over";
        Some(refused(namespace, &name, message, remedy))
    }
}

/// Owners by the UIDs of their pools.
pub(super) type Owners = BTreeMap<Uuid, PoolOwner>;

impl Controller {
    /// Checks an object that claims to be a member's. Returns whether its finalizer can be removed.
    pub(super) async fn check_claim(
        &mut self,
        resource: &Resource,
        claim: &MemberClaim,
        pools: &MemberPools<'_>,
        findings: &mut StatusFindings,
    ) -> bool {
        match claim {
            MemberClaim::Elsewhere | MemberClaim::Member { here: None, .. } => false,
            MemberClaim::Member {
                vsi,
                pool,
                here: Some(of),
            } => {
                findings.vsi = Some(*vsi);
                if !resource.is_deleting() {
                    return false;
                }
                let of_pool = pools.by_uid.get(pool);
                // In a set, another journal may have the pool; then its resource decides.
                let is_living = match of_pool {
                    Some(living) => !living.deleting,
                    None => self
                        .share
                        .as_ref()
                        .is_some_and(|share| share.number() != DECIDES),
                };
                // A pool that is being deleted deletes its members in its own order.
                let group = of_pool.and_then(|living| Some(living.of_group.as_ref()?.uid));
                let group = group.or_else(|| named_group(resource));
                let stays = is_living && !pools.is_leaving(of, group);
                self.member_may_finalize(resource, *vsi, (of, stays)).await
            }
            MemberClaim::Refused(failure) => {
                findings.refusal = Some(failure.clone());
                let was_served = resource.progress().run_id.is_some();
                if was_served && !resource.is_orphaned() {
                    findings.hold = Some(Hold::JournalLost);
                }
                resource.has_finalizer()
                    && resource.is_deleting()
                    && (!was_served || resource.is_orphaned())
            }
        }
    }

    /// Deletes a member whose object is being deleted. Returns whether the member is deleted.
    async fn member_may_finalize(
        &mut self,
        resource: &Resource,
        vsi: Uuid,
        (of, pool_stays): (&PoolMembership, bool),
    ) -> bool {
        let Ok(entity) = vsi_entity(vsi) else {
            return false;
        };
        let alive = self.fleet.knowledge(&entity) == EntityPresence::Alive;
        let orphan = resource.is_orphaned();
        let goes = of.deleting && !orphan;
        let is_asked = goes || self.removals.get(&resource.uid) == Some(&orphan);
        if alive && pool_stays && !is_asked {
            let by = by(&resource.manager, &resource.deletion_reason());
            let (namespace, id) = (&resource.key.namespace, vsi.to_string());
            match self.fleet.vsis().delete(namespace, &id, orphan, by).await {
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
        resource.has_finalizer() && self.fleet.knowledge(&entity) == EntityPresence::Gone
    }

    /// Makes the objects of members match the journal.
    pub(super) async fn show_members(
        &mut self,
        pools: &[ShownPool],
        owners: &Owners,
        snapshot: &Snapshot,
        claims: &MemberClaims,
    ) {
        let mut shown = BTreeSet::new();
        let members: BTreeMap<Uuid, (&ShownPool, &ShownMember)> = pools
            .iter()
            .flat_map(|pool| pool.members.iter().map(move |one| (one.uid, (pool, one))))
            .collect();
        for resource in &snapshot.resources {
            let Some(vsi) = claims.vsi(resource) else {
                continue;
            };
            shown.insert(resource.key.clone());
            if resource.is_deleting() {
                continue;
            }
            match members.get(&vsi) {
                Some((pool, member)) if !member.deleting => {
                    let owner = owners.get(&pool.uid);
                    self.correct(resource, member, owner).await;
                }
                Some(_) => self.remove_object(resource).await,
                // A pool that cannot be read lists no members: only what was really deleted is removed.
                None if self.is_gone(vsi) => self.remove_object(resource).await,
                None => {}
            }
        }
        let mut missing = Vec::new();
        for pool in pools {
            let Some(owner) = owners.get(&pool.uid) else {
                continue;
            };
            for member in pool.members.iter().filter(|member| !member.deleting) {
                let key = ResourceKey {
                    kind: ResourceKind::VirtualServer,
                    namespace: pool.namespace.clone(),
                    name: member.name.clone(),
                };
                // An earlier member's object must be deleted first; any other object is reported at the
                // pool.
                if !shown.contains(&key) && self.cache.resource(&key).is_none() {
                    missing.push((key, object_of(member, Some(owner))));
                }
            }
        }
        self.create_objects(missing).await;
    }

    /// Removes the objects of deleted members of this journal, if another journal has the pools.
    pub(super) async fn remove_absent(&mut self, own: &Snapshot, claims: &MemberClaims) {
        for resource in &own.resources {
            let gone = claims.vsi(resource).is_some_and(|vsi| self.is_gone(vsi));
            if gone && !resource.is_deleting() {
                self.remove_object(resource).await;
            }
        }
    }

    fn is_gone(&self, vsi: Uuid) -> bool {
        vsi_entity(vsi).is_ok_and(|vsi| self.fleet.knowledge(&vsi) == EntityPresence::Gone)
    }

    /// Creates objects concurrently: a pool may get a thousand members in one step.
    async fn create_objects(&mut self, missing: Vec<(ResourceKey, MemberObject)>) {
        let client = self.client.clone();
        let calls = missing.into_iter().map(|(key, object)| {
            let client = client.clone();
            async move {
                let created = api::create_member(&client, &key, &object).await;
                (key, created)
            }
        });
        let mut answers = stream::iter(calls).buffer_unordered(MAX_CALLS);
        while let Some((key, created)) = answers.next().await {
            self.heartbeat();
            match created {
                Ok(Some(created)) => self.cache.created(created),
                Ok(None) => {}
                // An object with this name exists: the watch shows whose it is.
                Err(CallError::Conflict) => self.unfinished = true,
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("{key} cannot be created: {error}");
                }
            }
        }
    }

    /// Corrects an object that was changed.
    async fn correct(
        &mut self,
        resource: &Resource,
        member: &ShownMember,
        owner: Option<&PoolOwner>,
    ) {
        // A refused template changes no member's object.
        let object = object_of(member, owner.filter(|owner| owner.is_recorded));
        let print = object.print();
        let is_written = self.shown.get(&resource.uid) == Some(&(print, resource.generation));
        if object.is_on(resource, is_written) {
            return;
        }
        self.heartbeat();
        let removed = object.superfluous(resource);
        match api::correct_member(&self.client, resource, &object, &removed).await {
            Ok(Some(patched)) => {
                // What the server did not accept is not written again.
                self.shown.insert(patched.uid, (print, patched.generation));
                self.cache.update(patched);
            }
            Ok(None) | Err(CallError::Gone) => {}
            Err(CallError::Conflict) => self.cache.poke(),
            Err(error) => {
                self.unfinished = true;
                tracing::warn!("{} cannot be put right: {error}", resource.key);
            }
        }
    }

    async fn remove_object(&mut self, resource: &Resource) {
        self.heartbeat();
        match api::delete_member(&self.client, resource).await {
            Ok(()) | Err(CallError::Gone) => {}
            // The object changed, or the server is inconsistent: nothing else triggers a retry.
            Err(CallError::Conflict) => self.unfinished = true,
            Err(error) => {
                self.unfinished = true;
                tracing::warn!("{} cannot be deleted: {error}", resource.key);
            }
        }
    }
}

/// The UID of the group of which a member's object says that it is.
fn named_group(resource: &Resource) -> Option<Uuid> {
    let uid = resource.annotations.get(group::UID_ANNOTATION)?;
    uid.parse().ok()
}

pub(super) fn refused(namespace: &str, name: &str, message: String, remedy: &str) -> Failure {
    Failure::new(FailureClass::Blocked, "VSI0721", message)
        .of_object(format!("vsi/{namespace}/{name}"))
        .with_remedy(remedy)
}

/// The desired object of a member. Its spec is not changed if no resource describes the pool.
fn object_of(member: &ShownMember, owner: Option<&PoolOwner>) -> MemberObject {
    let (labels, own) = member.marks();
    let of_template = owner.map(|owner| owner.annotations.clone());
    let labels = marks::labels(labels);
    let mut annotations = marks::annotations(&of_template.unwrap_or_default(), own);
    if owner.is_some() {
        TemplateMarks::note(&labels, &mut annotations);
    }
    let template = owner.and_then(|owner| owner.template.clone());
    let spec = template.map(|mut spec| {
        if let Some(guest) = spec.get_mut("guest").and_then(Value::as_object_mut) {
            // Users who may read members may not be permitted to read the pool's template.
            guest.remove("contract");
            guest.remove("userData");
        }
        if let Some(spec) = spec.as_object_mut() {
            spec.insert("imageURL".to_owned(), Value::String(member.image.clone()));
        }
        spec
    });
    MemberObject {
        labels,
        annotations,
        spec,
    }
}

/// Labels or annotations of a member's object by which another tool would take it for its own, and those that have left
/// its template.
fn superfluous(there: &Marks, expected: &Marks, from_template: &BTreeSet<String>) -> Vec<String> {
    let names = there.keys().filter(|name| !expected.contains_key(*name));
    let superfluous =
        names.filter(|name| marks::is_tracking(name) || from_template.contains(*name));
    superfluous.cloned().collect()
}

impl MemberObject {
    /// Hash of the content, for comparisons.
    fn print(&self) -> Hash {
        Hash::of(format!("{self:?}").as_bytes())
    }

    /// The labels and annotations of the resource that it should not have. While the template is refused, nothing has
    /// left it.
    fn superfluous(&self, resource: &Resource) -> RemovedMarks {
        let noted = if TemplateMarks::are_noted(&self.annotations) {
            TemplateMarks::noted(&resource.annotations)
        } else {
            TemplateMarks::default()
        };
        RemovedMarks {
            labels: superfluous(&resource.labels, &self.labels, &noted.labels),
            annotations: superfluous(&resource.annotations, &self.annotations, &noted.annotations),
        }
    }

    /// Whether the resource has all of this content. `is_written`: the spec was written as it is.
    fn is_on(&self, resource: &Resource, is_written: bool) -> bool {
        let has = |there: &BTreeMap<String, String>, expected: &BTreeMap<String, String>| {
            expected
                .iter()
                .all(|(key, value)| there.get(key) == Some(value))
        };
        let same = |spec: &Value| is_written || *spec == resource.spec;
        resource.has_finalizer()
            && self.superfluous(resource).is_empty()
            && has(&resource.labels, &self.labels)
            && has(&resource.annotations, &self.annotations)
            && self.spec.as_ref().is_none_or(same)
    }
}
