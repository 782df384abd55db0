//! Objects of the members of pools: what the journal has as a member, the cluster has as a VirtualServer.
//!
//! The journal comes first: a member is recorded, then its object is created; an object goes once its member
//! is gone. An object is a member's only if the journal says so of the UID that its annotation names: nobody
//! gets at a VSI by writing an annotation. Deleting an object deletes the member; whatever else is changed of
//! it is put right.
//!
//! Where the journals of a set share the cluster, journal 0 has the pools and makes the objects; the journal of a member's host
//! has the member, tells of it and lets its object go. What an annotation names is then another journal's member as far as
//! journal 0 heard of it, and nobody's once no journal knows it.

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
    record::{pool_entity, vsi_entity},
};

use super::{Controller, by};
use crate::{
    api::{self, CallError, MemberObject},
    kind::ResourceKind,
    resource::{Resource, ResourceKey},
    resource_cache::Snapshot,
    share::{DECIDES, JournalShare, name_of},
    status_queue::{Hold, StatusFindings},
};

/// Calls to the API server at one time.
const AT_ONCE: usize = 8;

/// What an object is that says that it is a member's.
#[derive(Clone, Debug)]
pub(super) enum MemberClaim {
    /// It is.
    Member {
        /// The UID of the member's VSI.
        vsi: Uuid,
        /// The UID of its pool.
        pool: Uuid,
        /// What is recorded of it; none where another journal has it.
        here: Option<Box<PoolMembership>>,
    },
    /// It is not, or nobody can tell: nothing is done for it.
    Refused(Failure),
    /// Another journal tells what it is.
    Elsewhere,
}

/// The objects that say that they are members', by their own UIDs.
#[derive(Default)]
pub(super) struct MemberClaims {
    all: BTreeMap<Uuid, MemberClaim>,
    /// Namespace and group of each member that is there.
    groups: BTreeSet<(String, String)>,
}

impl MemberClaims {
    pub(super) fn of(&self, resource: &Resource) -> Option<&MemberClaim> {
        self.all.get(&resource.uid)
    }

    /// The VSI of an object.
    pub(super) fn vsi(&self, resource: &Resource) -> Option<Uuid> {
        match self.of(resource)? {
            MemberClaim::Member { vsi, .. } => Some(*vsi),
            MemberClaim::Refused(_) | MemberClaim::Elsewhere => None,
        }
    }

    /// Whether another journal tells what an object is.
    pub(super) fn is_elsewhere(&self, resource: &Resource) -> bool {
        matches!(
            self.of(resource),
            Some(MemberClaim::Elsewhere | MemberClaim::Member { here: None, .. })
        )
    }

    /// Whether objects of members of that pool are there.
    pub(super) fn has_members_of(&self, uid: Uuid) -> bool {
        let mut all = self.all.values();
        all.any(|claim| matches!(claim, MemberClaim::Member { pool, .. } if *pool == uid))
    }

    /// Whether objects of members of that group are there.
    pub(super) fn has_members_of_group(&self, namespace: &str, name: &str) -> bool {
        let group = (namespace.to_owned(), name.to_owned());
        self.groups.contains(&group)
    }

    /// The world without these objects: no document is theirs.
    pub(super) fn without(&self, snapshot: &Snapshot) -> Snapshot {
        let mut rest = snapshot.clone();
        rest.resources.retain(|one| self.of(one).is_none());
        rest
    }
}

/// The resource that says what a pool is.
#[derive(Clone)]
pub(super) struct PoolOwner {
    pub(super) resource: Arc<Resource>,
    /// The UID by which the fleet knows it.
    pub(super) uid: Uuid,
    /// What its members are made from, as the resource has it.
    pub(super) template: Option<Value>,
}

/// Owners by the UIDs of their pools.
pub(super) type Owners = BTreeMap<Uuid, PoolOwner>;

impl Controller {
    /// Looks which objects are those of members.
    pub(super) async fn claims(
        &mut self,
        snapshot: &Snapshot,
        pools: &[ShownPool],
    ) -> MemberClaims {
        let mut claims = MemberClaims::default();
        for resource in &snapshot.resources {
            if let Some(claim) = self.claim(resource, pools).await {
                if let (MemberClaim::Member { .. }, Some(group)) =
                    (&claim, resource.labels.get(group::LABEL))
                {
                    let namespace = resource.key.namespace.clone();
                    claims.groups.insert((namespace, group.clone()));
                }
                claims.all.insert(resource.uid, claim);
            }
        }
        claims
    }

    async fn claim(&mut self, resource: &Resource, pools: &[ShownPool]) -> Option<MemberClaim> {
        let word = |key: &str| resource.annotations.get(key);
        let of = word(pool::UID_ANNOTATION)?;
        let is_known = |uid| {
            vsi_entity(uid).is_ok_and(|vsi| self.fleet.knowledge(&vsi) != EntityPresence::None)
        };
        // A VSI of its own stays that, whatever it says of itself.
        if resource.key.kind != ResourceKind::VirtualServer || is_known(resource.uid) {
            return None;
        }
        let named = word(pool::VSI_ANNOTATION).and_then(|uid| uid.parse::<Uuid>().ok());
        let named = of.parse::<Uuid>().ok().zip(named);
        let key = &resource.key;
        if let Some((pool, vsi)) = named {
            match self.fleet.pools().membership(vsi).await {
                Ok(Some(is))
                    if (&is.namespace, &is.name) == (&key.namespace, &key.name)
                        && is.of.uid == pool =>
                {
                    let here = Some(Box::new(is));
                    return Some(MemberClaim::Member { vsi, pool, here });
                }
                Ok(_) => {}
                Err(error) => return Some(MemberClaim::Refused(*error.failure)),
            }
        }
        let Some(share) = self.share.clone() else {
            return Some(MemberClaim::Refused(not_made(key)));
        };
        Some(self.claim_over(&*share, resource, named, pools).await)
    }

    /// What an object is that this journal has no member for.
    async fn claim_over(
        &mut self,
        share: &dyn JournalShare,
        resource: &Resource,
        named: Option<(Uuid, Uuid)>,
        pools: &[ShownPool],
    ) -> MemberClaim {
        if share.number() != DECIDES {
            return MemberClaim::Elsewhere;
        }
        if let Some((pool, vsi)) = named
            && self.is_heard_of(&resource.key, (pool, vsi), pools)
        {
            let here = None;
            return MemberClaim::Member { vsi, pool, here };
        }
        let of_name = named.map(|(_, vsi)| vsi).into_iter();
        for uid in of_name.chain([resource.uid]) {
            let (Some(name), Ok(entity)) = (name_of(&resource.key), vsi_entity(uid)) else {
                continue;
            };
            match share.may_be_elsewhere(&name, &entity).await {
                Ok(false) => {}
                Ok(true) => {
                    let member = named.filter(|(_, vsi)| *vsi == uid);
                    return member.map_or(MemberClaim::Elsewhere, |(pool, vsi)| {
                        let here = None;
                        MemberClaim::Member { vsi, pool, here }
                    });
                }
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("whose member {} is, is not known: {error}", resource.key);
                    return MemberClaim::Elsewhere;
                }
            }
        }
        MemberClaim::Refused(not_made(&resource.key))
    }

    /// Whether journal 0 heard that a pool has that member; or has not heard of its members at all yet.
    fn is_heard_of(
        &self,
        key: &ResourceKey,
        (pool, vsi): (Uuid, Uuid),
        pools: &[ShownPool],
    ) -> bool {
        let mut pools = pools.iter();
        let found = pools.find(|one| one.uid == pool && one.namespace == key.namespace);
        let Some(found) = found else { return false };
        let is_heard = pool_entity(pool).is_ok_and(|one| self.fleet.pools().is_heard(&one));
        let mut members = found.members.iter();
        !is_heard && pool::number_of(&found.name, &key.name).is_some()
            || members.any(|member| member.uid == vsi && member.name == key.name)
    }

    /// What is found of an object that says that it is a member's; whether its finalizer can go.
    pub(super) async fn look_at_claim(
        &mut self,
        resource: &Resource,
        claim: &MemberClaim,
        (world, pools): (&Snapshot, &[ShownPool]),
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
                let of_pool = pools.iter().find(|one| one.uid == *pool);
                // Of a set, the pool may be in another journal: its resource tells.
                let is_living = match of_pool {
                    Some(living) => !living.deleting,
                    None => self
                        .share
                        .as_ref()
                        .is_some_and(|share| share.number() != DECIDES),
                };
                // One that goes deletes its members in its own order.
                let stays = is_living && !leaves(of, world);
                resource.is_deleting() && self.member_may_go(resource, *vsi, (of, stays)).await
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

    /// Deletes a member whose object somebody deletes, and tells whether it is gone.
    async fn member_may_go(
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
        let is_asked = goes || self.asked.get(&resource.uid) == Some(&orphan);
        if alive && pool_stays && !is_asked {
            let by = by(&resource.manager, "the resource was deleted");
            let (namespace, id) = (&resource.key.namespace, vsi.to_string());
            match self.fleet.vsis().delete(namespace, &id, orphan, by).await {
                Ok(_) => {
                    self.asked.insert(resource.uid, orphan);
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

    /// A VirtualServer of a member's name that is not that member's object.
    pub(super) fn foreign_object(
        &self,
        (namespace, pool, replicas): (&str, &str, u32),
        snapshot: &Snapshot,
        claims: &MemberClaims,
    ) -> Option<Failure> {
        let mut objects = snapshot.resources.iter().filter(|one| {
            let number = pool::number_of(pool, &one.key.name);
            let has_name = number.is_some_and(|number| number < replicas);
            one.key.kind == ResourceKind::VirtualServer
                && one.key.namespace == namespace
                && has_name
                && !matches!(claims.of(one), Some(MemberClaim::Member { .. }))
        });
        let found = objects.next()?;
        let name = &found.key.name;
        let message = format!("{name} is a VirtualServer that pool/{pool} did not make");
        let remedy = "delete that VirtualServer, or give the pool another name; the pool never takes it over";
        Some(refused(namespace, name, message, remedy))
    }

    /// Makes the objects of members be what the journal says.
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
                // A pool that cannot be read shows no members: only what is gone is gone.
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
                // That of an earlier member goes first; of another one the pool is told.
                if !shown.contains(&key) && self.world.resource(&key).is_none() {
                    missing.push((key, object_of(member, Some(owner))));
                }
            }
        }
        self.create_objects(missing).await;
    }

    /// Removes the objects of members that are gone from this journal, where another one has the pools.
    pub(super) async fn remove_gone(&mut self, own: &Snapshot, claims: &MemberClaims) {
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

    /// Several at a time: a pool may get a thousand members at once.
    async fn create_objects(&mut self, missing: Vec<(ResourceKey, MemberObject)>) {
        let client = self.client.clone();
        let calls = missing.into_iter().map(|(key, object)| {
            let client = client.clone();
            async move {
                let created = api::create_member(&client, &key, &object).await;
                (key, created)
            }
        });
        let mut answers = stream::iter(calls).buffer_unordered(AT_ONCE);
        while let Some((key, created)) = answers.next().await {
            self.gets_on();
            match created {
                Ok(Some(created)) => self.world.created(created),
                Ok(None) => {}
                // Somebody has made one of that name: the watch tells whose it is.
                Err(CallError::Conflict) => self.unfinished = true,
                Err(error) => {
                    self.unfinished = true;
                    tracing::warn!("{key} cannot be created: {error}");
                }
            }
        }
    }

    /// Puts an object right that somebody changed.
    async fn correct(
        &mut self,
        resource: &Resource,
        member: &ShownMember,
        owner: Option<&PoolOwner>,
    ) {
        let object = object_of(member, owner);
        let print = object.print();
        let is_written = self.shown.get(&resource.uid) == Some(&(print, resource.generation));
        if object.is_on(resource, is_written) {
            return;
        }
        self.gets_on();
        match api::correct_member(&self.client, resource, &object).await {
            Ok(Some(patched)) => {
                // What the server does not take of it is not asked for again.
                self.shown.insert(patched.uid, (print, patched.generation));
                self.world.update(patched);
            }
            Ok(None) | Err(CallError::Gone) => {}
            Err(CallError::Conflict) => self.world.poke(),
            Err(error) => {
                self.unfinished = true;
                tracing::warn!("{} cannot be put right: {error}", resource.key);
            }
        }
    }

    async fn remove_object(&mut self, resource: &Resource) {
        self.gets_on();
        match api::delete_member(&self.client, resource).await {
            Ok(()) | Err(CallError::Gone) => {}
            // It is not what it was a moment ago, or the server is at odds with itself: nobody else asks again.
            Err(CallError::Conflict) => self.unfinished = true,
            Err(error) => {
                self.unfinished = true;
                tracing::warn!("{} cannot be deleted: {error}", resource.key);
            }
        }
    }
}

/// Whether the resource of a member's pool, or of its group, is being deleted.
fn leaves(of: &PoolMembership, world: &Snapshot) -> bool {
    world.resources.iter().any(|one| {
        let is_it = match one.key.kind {
            ResourceKind::Pool => one.key.name == of.of.pool,
            ResourceKind::Group => Some(&one.key.name) == of.group.as_ref(),
            _ => false,
        };
        is_it && one.is_deleting() && one.key.namespace == of.namespace
    })
}

fn not_made(key: &ResourceKey) -> Failure {
    let message = "it says that it is a member of a pool, and no pool has made it".to_owned();
    let remedy = "remove the annotations vsiflow.io/pool-uid and vsiflow.io/vsi-uid, or delete it";
    refused(&key.namespace, &key.name, message, remedy)
}

fn refused(namespace: &str, name: &str, message: String, remedy: &str) -> Failure {
    Failure::new(FailureClass::Blocked, "VSI0721", message)
        .of_object(format!("vsi/{namespace}/{name}"))
        .with_remedy(remedy)
}

/// What a member's object says. Where no resource says what the pool is, its spec stays as it is.
fn object_of(member: &ShownMember, owner: Option<&PoolOwner>) -> MemberObject {
    let (labels, annotations) = member.marks();
    let template = owner.and_then(|owner| owner.template.clone());
    let spec = template.map(|mut spec| {
        if let Some(guest) = spec.get_mut("guest").and_then(Value::as_object_mut) {
            // Whoever may read members may not read what the pool's template has.
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

impl MemberObject {
    /// What it says, for comparisons.
    fn print(&self) -> Hash {
        Hash::of(format!("{self:?}").as_bytes())
    }

    /// Whether the resource says all of it; its spec was written as it is.
    fn is_on(&self, resource: &Resource, is_written: bool) -> bool {
        let has = |there: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
            wanted
                .iter()
                .all(|(key, value)| there.get(key) == Some(value))
        };
        let same = |spec: &Value| is_written || *spec == resource.spec;
        resource.has_finalizer()
            && has(&resource.labels, &self.labels)
            && has(&resource.annotations, &self.annotations)
            && self.spec.as_ref().is_none_or(same)
    }
}
