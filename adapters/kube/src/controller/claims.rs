//! Which VirtualServers are the objects of pools' members. An object is a member's only if the journal says so of the UID that its
//! annotation names: nobody gets at a VSI by writing an annotation.
//!
//! Where the journals of a set share the cluster, the journal of a member's host has the member and knows its object. What an
//! annotation names is another journal's member as far as journal 0 heard of it, and nobody's once no journal knows it.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vsiflow_engine::model::Failure;
use vsiflow_workflows::{
    fleet::{EntityPresence, PoolMembership, ShownPool},
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
}

fn not_made(key: &ResourceKey) -> Failure {
    let message = "it says that it is a member of a pool, and no pool has made it".to_owned();
    let remedy = "remove the annotations vsiflow.io/pool-uid and vsiflow.io/vsi-uid, or delete it";
    refused(&key.namespace, &key.name, message, remedy)
}
