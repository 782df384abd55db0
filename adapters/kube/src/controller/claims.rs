//! Finds out which VirtualServers are the objects of pool members. An object is a member's only if the
//! journal has the UID that its annotation names as that member: writing an annotation does not give
//! access to a VSI.
//!
//! If the journals of a set share the cluster, the journal of a member's host has the member and knows
//! its object. What an annotation names is another journal's member if journal 0 heard of it, and it is
//! refused once no journal knows it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_workflows::{
    fleet::{EntityPresence, FleetError, PoolMembership, ShownPool},
    group, pool,
    record::{pool_entity, vsi_entity},
};

use super::{Controller, members::refused};
use crate::{
    kind::ResourceKind,
    resource::{Resource, ResourceKey},
    resource_cache::Snapshot,
    share::{DECIDES, JournalShare, name_of},
};

/// What was found about an object whose annotations claim that it is a member's.
#[derive(Clone, Debug)]
pub(super) enum MemberClaim {
    /// The claim is true.
    Member {
        /// The UID of the member's VSI.
        vsi: Uuid,
        /// The UID of its pool.
        pool: Uuid,
        /// What is recorded of the member; none if another journal has it.
        here: Option<Box<PoolMembership>>,
    },
    /// The claim is false, or cannot be checked: nothing is done for the object.
    Refused(Failure),
    /// Another journal reports what the object is.
    Elsewhere,
}

/// The objects that claim to be members', by their own UIDs.
#[derive(Default)]
pub(super) struct MemberClaims {
    all: BTreeMap<Uuid, MemberClaim>,
    /// The pool of each member whose object exists.
    pools: BTreeSet<Uuid>,
    /// Namespace and group of each member whose object exists.
    groups: BTreeSet<(String, String)>,
}

impl MemberClaim {
    /// A member that another journal has.
    fn elsewhere((pool, vsi): (Uuid, Uuid)) -> Self {
        Self::Member {
            vsi,
            pool,
            here: None,
        }
    }
}

impl MemberClaims {
    fn put(&mut self, resource: &Resource, claim: MemberClaim) {
        if let MemberClaim::Member { pool, .. } = &claim {
            self.pools.insert(*pool);
            let namespace = resource.key.namespace.clone();
            let group = resource.labels.get(group::LABEL);
            self.groups
                .extend(group.map(|group| (namespace, group.clone())));
        }
        self.all.insert(resource.uid, claim);
    }

    pub(super) fn of(&self, resource: &Resource) -> Option<&MemberClaim> {
        self.all.get(&resource.uid)
    }

    /// The UID of the VSI of a member's object.
    pub(super) fn vsi(&self, resource: &Resource) -> Option<Uuid> {
        match self.of(resource)? {
            MemberClaim::Member { vsi, .. } => Some(*vsi),
            MemberClaim::Refused(_) | MemberClaim::Elsewhere => None,
        }
    }

    /// Whether another journal reports what an object is.
    pub(super) fn is_elsewhere(&self, resource: &Resource) -> bool {
        matches!(
            self.of(resource),
            Some(MemberClaim::Elsewhere | MemberClaim::Member { here: None, .. })
        )
    }

    /// Whether objects of members of that pool exist.
    pub(super) fn has_members_of(&self, uid: Uuid) -> bool {
        self.pools.contains(&uid)
    }

    /// Whether objects of members of that group exist.
    pub(super) fn has_members_of_group(&self, namespace: &str, name: &str) -> bool {
        let group = (namespace.to_owned(), name.to_owned());
        self.groups.contains(&group)
    }

    /// The snapshot without these objects: they are not documents.
    pub(super) fn without(&self, snapshot: &Snapshot) -> Snapshot {
        let mut rest = snapshot.clone();
        rest.resources.retain(|one| self.of(one).is_none());
        rest
    }
}

/// The UIDs of a pool and of its member's VSI that an object names.
type NamedMember = Option<(Uuid, Uuid)>;

impl Controller {
    /// Finds out which objects are members'.
    pub(super) async fn claims(&mut self, cluster: &Snapshot, pools: &[ShownPool]) -> MemberClaims {
        let mut claims = MemberClaims::default();
        let mut open = Vec::new();
        let by_uid = pools.iter().map(|pool| (pool.uid, pool)).collect();
        for resource in &cluster.resources {
            let Some(named) = self.named_member(resource) else {
                continue;
            };
            match self.claim(resource, named, &by_uid).await {
                Some(claim) => claims.put(resource, claim),
                None => open.push((resource, named)),
            }
        }
        self.claims_elsewhere(open, &mut claims).await;
        claims
    }

    /// The member that an object claims to be; none if it does not claim to be one.
    fn named_member(&self, resource: &Resource) -> Option<NamedMember> {
        let word = |key: &str| resource.annotations.get(key);
        let of = word(pool::UID_ANNOTATION)?;
        let is_known = |uid| {
            vsi_entity(uid).is_ok_and(|vsi| self.fleet.knowledge(&vsi) != EntityPresence::None)
        };
        // An independent VSI remains one, whatever its annotations say.
        if resource.key.kind != ResourceKind::VirtualServer || is_known(resource.uid) {
            return None;
        }
        let vsi = word(pool::VSI_ANNOTATION).and_then(|uid| uid.parse::<Uuid>().ok());
        Some(of.parse::<Uuid>().ok().zip(vsi))
    }

    /// What an object is; none if other journals must be asked.
    async fn claim(
        &self,
        resource: &Resource,
        named: NamedMember,
        pools: &BTreeMap<Uuid, &ShownPool>,
    ) -> Option<MemberClaim> {
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
        match (&self.share, named) {
            (None, _) => Some(MemberClaim::Refused(not_made(key))),
            (Some(share), _) if share.number() != DECIDES => Some(MemberClaim::Elsewhere),
            (Some(_), Some(member)) if self.is_known_member(key, member, pools) => {
                Some(MemberClaim::elsewhere(member))
            }
            (Some(_), _) => None,
        }
    }

    /// Decides about objects that journal 0 does not know: they are another journal's if that one has
    /// their names.
    async fn claims_elsewhere(
        &mut self,
        open: Vec<(&Arc<Resource>, NamedMember)>,
        claims: &mut MemberClaims,
    ) {
        let Some(share) = self.share.clone().filter(|_| !open.is_empty()) else {
            return;
        };
        let names = open.iter();
        let names = names.filter_map(|(resource, _)| name_of(&resource.key));
        let claimed = match share.journals_of_names(&names.collect()).await {
            Ok(claimed) => claimed,
            Err(error) => return self.claim_nothing(open, claims, &error),
        };
        for (resource, named) in open {
            let name = name_of(&resource.key);
            let journal = name.as_ref().and_then(|name| claimed.get(name));
            let has_name = journal.is_some_and(|journal| *journal != share.number());
            let found = match name.filter(|_| has_name) {
                Some(name) => elsewhere(&*share, &name, resource.uid, named).await,
                None => Ok(None),
            };
            match found {
                Ok(Some(claim)) => claims.put(resource, claim),
                Ok(None) => claims.put(resource, MemberClaim::Refused(not_made(&resource.key))),
                Err(error) => self.claim_nothing(vec![(resource, named)], claims, &error),
            }
        }
    }

    /// These objects cannot be checked now: they are left alone.
    fn claim_nothing(
        &mut self,
        open: Vec<(&Arc<Resource>, NamedMember)>,
        claims: &mut MemberClaims,
        error: &FleetError,
    ) {
        self.unfinished = true;
        for (resource, _) in open {
            tracing::warn!("whose member {} is, is not known: {error}", resource.key);
            claims.put(resource, MemberClaim::Elsewhere);
        }
    }

    /// Whether journal 0 heard that a pool has that member, or has not heard of the pool's members at
    /// all yet.
    fn is_known_member(
        &self,
        key: &ResourceKey,
        (pool, vsi): (Uuid, Uuid),
        pools: &BTreeMap<Uuid, &ShownPool>,
    ) -> bool {
        let found = pools.get(&pool);
        let found = found.filter(|one| one.namespace == key.namespace);
        let Some(found) = found else { return false };
        let is_reported = pool_entity(pool).is_ok_and(|one| self.fleet.pools().is_reported(&one));
        let mut members = found.members.iter();
        !is_reported && pool::number_of(&found.name, &key.name).is_some()
            || members.any(|member| member.uid == vsi && member.name == key.name)
    }
}

/// What an object is whose name another journal has; none if that journal knows neither the object nor
/// what it names.
async fn elsewhere(
    share: &dyn JournalShare,
    name: &str,
    own: Uuid,
    named: NamedMember,
) -> Result<Option<MemberClaim>, FleetError> {
    let knows = async |uid| match vsi_entity(uid) {
        Ok(entity) => share.may_be_elsewhere(name, &entity).await,
        Err(_) => Ok(false),
    };
    if let Some(member) = named
        && knows(member.1).await?
    {
        return Ok(Some(MemberClaim::elsewhere(member)));
    }
    let is_vsi = knows(own).await?;
    Ok(is_vsi.then_some(MemberClaim::Elsewhere))
}

fn not_made(key: &ResourceKey) -> Failure {
    let message = "it says that it is a member of a pool, and no pool has made it".to_owned();
    let remedy = "remove the annotations vsiflow.io/pool-uid and vsiflow.io/vsi-uid, or delete it";
    refused(&key.namespace, &key.name, message, remedy)
}
