//! Pools and their members for callers that maintain objects of both elsewhere, such as in a cluster.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Name},
    secret::{Secret, SecretError},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, GroupHandle, PoolHandle,
    apply::is_deleting,
    index::Known,
    known::{KnownGroup, KnownPool},
    pool::member_texts::filled_contract,
};
use crate::{
    group::{self, GroupRecord},
    pool::{self, MemberOf, PoolRecord},
    record::{group_entity, kind, pool_entity, vsi_entity},
    spec::{group::OfGroup, template_texts::PoolValues},
};

/// A pool that is not deleted, and its members.
#[derive(Clone, Debug)]
pub struct ShownPool {
    /// Its UID.
    pub uid: Uuid,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The group that makes it, if one does.
    pub of_group: Option<OfGroup>,
    /// How many members it should have.
    pub replicas: u32,
    /// Whether it, or its group, is being deleted.
    pub deleting: bool,
    /// Existing members, by number.
    pub members: Vec<ShownMember>,
}

/// A member of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownMember {
    /// The UID of its VSI.
    pub uid: Uuid,
    /// The name of its VSI.
    pub name: String,
    /// Its pool and number.
    pub of: MemberOf,
    /// The UID of its pool's group, if the pool has one.
    pub group: Option<Uuid>,
    /// The labels of its VSI.
    pub labels: BTreeMap<String, String>,
    /// The source of its image, without credentials.
    pub image: String,
    /// Whether it is being deleted.
    pub deleting: bool,
}

/// The pool that a VSI is, or was, a member of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMembership {
    /// The namespace of the VSI.
    pub namespace: String,
    /// The name of the VSI.
    pub name: String,
    /// Its pool and number.
    pub of: MemberOf,
    /// The group of its pool, if the pool has one.
    pub group: Option<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl PoolHandle<'_> {
    /// The pools that are not deleted. If members are in several journals, they come from the pool's
    /// last report: none before its first reconciliation.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn shown(self) -> Result<Vec<ShownPool>, FleetError> {
        let mut all = Vec::new();
        let groups = self.fleet.living::<GroupRecord>().await?;
        let leaves = |pool: &KnownPool| {
            let of = pool.record.of_group.as_ref();
            let mut groups = groups.iter();
            let group = of.and_then(|of| groups.find(|group| group.record.uid == of.uid));
            pool.is_deleting() || group.is_some_and(KnownGroup::is_deleting)
        };
        for pool in self.fleet.living::<PoolRecord>().await? {
            let members = self.shown_members(&pool).await?;
            all.push(ShownPool {
                uid: pool.record.uid,
                deleting: leaves(&pool),
                namespace: pool.record.namespace,
                name: pool.record.name,
                of_group: pool.record.of_group,
                replicas: pool.record.replicas,
                members,
            });
        }
        Ok(all)
    }

    /// Whether the shown members of a pool are known. If members are in several journals, they are not
    /// before the pool's first reconciliation.
    pub fn is_reported(self, pool: &EntityId) -> bool {
        let board = &self.fleet.pools;
        board.journals().is_none() || board.report(pool).is_some()
    }

    async fn shown_members(self, pool: &KnownPool) -> Result<Vec<ShownMember>, FleetError> {
        let mut members: Vec<_> = if self.fleet.pools.journals().is_some() {
            let report = self.fleet.pools.report(&pool.entity);
            report
                .map(|report| report.shown().collect())
                .unwrap_or_default()
        } else {
            let known = self.fleet.known_of_pool(pool.record.uid).await?;
            let members = known.iter();
            members.filter_map(|vsi| ShownMember::of(vsi)).collect()
        };
        let group = pool.record.of_group.as_ref().map(|of| of.uid);
        members.iter_mut().for_each(|member| member.group = group);
        members.sort_by_key(|member| member.of.number);
        Ok(members)
    }

    /// The pool that a VSI is, or was, a member of; `None` if the VSI is unknown or was never a member.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub async fn membership(self, vsi: Uuid) -> Result<Option<PoolMembership>, FleetError> {
        let entity = vsi_entity(vsi).map_err(|error| FleetError::defect(error.to_string()))?;
        let known = self.fleet.known_of(&entity).await?;
        Ok(known.and_then(|known| {
            let found = &known.record.vsi;
            Some(PoolMembership {
                namespace: found.namespace.clone(),
                name: found.name.clone(),
                of: found.member_of.clone()?,
                group: found.labels.get(group::LABEL).cloned(),
                deleting: is_deleting(&known.state),
            })
        }))
    }

    /// The UID of the pool of that name that is not deleted and that no group makes.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn uid(self, namespace: &str, name: &str) -> Result<Option<Uuid>, FleetError> {
        let mut pools = self.fleet.living::<PoolRecord>().await?.into_iter();
        let found = pools.find(|pool| {
            let record = &pool.record;
            record.of_group.is_none() && record.namespace == namespace && record.name == name
        });
        Ok(found.map(|pool| pool.record.uid))
    }

    /// Approves the proposed template of a pool if it has this revision; returns whether it had.
    ///
    /// # Errors
    /// As for [`PoolHandle::approve`].
    pub async fn approve_template(
        self,
        uid: Uuid,
        revision: &str,
        by: By,
    ) -> Result<bool, FleetError> {
        let entity = pool_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        let Some(pool) = self.fleet.known_record::<PoolRecord>(&entity).await? else {
            return Ok(false);
        };
        let waits = pool.record.proposed.as_ref();
        if waits.is_none_or(|proposed| proposed.revision != revision) {
            return Ok(false);
        }
        let (namespace, uid) = (&pool.record.namespace, uid.to_string());
        Box::pin(self.approve(namespace, &uid, by))
            .await
            .map(|_| true)
    }

    /// Approves the change that an ID names
    /// ([`PoolObject::proposal_id`](super::PoolObject::proposal_id)). Returns whether that change was
    /// waiting.
    ///
    /// # Errors
    /// As for [`PoolHandle::approve`].
    pub async fn approve_this(
        self,
        namespace: &str,
        name: &str,
        id: &str,
        by: By,
    ) -> Result<bool, FleetError> {
        let pool = Box::pin(self.get(namespace, name)).await?;
        let waits = pool.proposal_id().filter(|waits| waits == id);
        match (
            waits,
            pool.metadata.uid.parse(),
            &pool.status.proposed_revision,
        ) {
            (Some(_), Ok(uid), Some(to)) => Box::pin(self.approve_template(uid, to, by)).await,
            _ => Ok(false),
        }
    }

    /// Refuses commands that change these pools and groups from now on, because objects elsewhere
    /// define them. Deleting them stays possible. Replaces the earlier set.
    pub fn set_owned_elsewhere(self, pools_and_groups: impl IntoIterator<Item = Uuid>) {
        let of = |uid| [pool_entity(uid).ok(), group_entity(uid).ok()];
        let all = pools_and_groups.into_iter().flat_map(of).flatten();
        self.fleet.pools.set_owned_elsewhere(all.collect());
    }
}

impl GroupHandle<'_> {
    /// Whether the shown members of all its pools are known ([`PoolHandle::is_reported`]).
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn is_reported(self, group: Uuid) -> Result<bool, FleetError> {
        let pools = self.fleet.pools_of_group(group).await?;
        let mut pools = pools.values();
        Ok(pools.all(|pool| self.fleet.pools().is_reported(&pool.entity)))
    }

    /// The UID of the group of that name that is not deleted.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn uid(self, namespace: &str, name: &str) -> Result<Option<Uuid>, FleetError> {
        let mut groups = self.fleet.living::<GroupRecord>().await?.into_iter();
        let found =
            groups.find(|group| group.record.namespace == namespace && group.record.name == name);
        Ok(found.map(|group| group.record.uid))
    }
}

impl Fleet {
    /// Refuses a command that changes a pool which an object elsewhere defines.
    pub(in crate::fleet) fn refuse_owned_elsewhere(
        &self,
        known: &KnownPool,
    ) -> Result<(), FleetError> {
        let of_group = known.record.of_group.as_ref();
        let group = of_group.and_then(|of| group_entity(of.uid).ok());
        let mut owners: Vec<&EntityId> = vec![&known.entity];
        owners.extend(&group);
        if !owners.iter().any(|one| self.pools.is_owned_elsewhere(one)) {
            return Ok(());
        }
        let message = "an object of the cluster says what it is, and would undo this";
        let failure = Failure::new(FailureClass::Blocked, "VSI0736", message)
            .of_object(format!("{}/{}", kind::POOL, known.record.full_name()))
            .with_remedy("change that object: `kubectl scale`, `kubectl apply` or `kubectl edit`");
        Err(FleetError::new(ErrorKind::Blocked, failure))
    }

    /// Restores the contracts of members that were held only in memory, from the contracts of their
    /// templates.
    pub(in crate::fleet) async fn deliver_members(&self) -> Result<(), FleetError> {
        for pool in self.living::<PoolRecord>().await? {
            self.deliver_members_of(&pool).await?;
        }
        Ok(())
    }

    pub(in crate::fleet) async fn deliver_members_of(
        &self,
        pool: &KnownPool,
    ) -> Result<(), FleetError> {
        for known in self.known_of_pool(pool.record.uid).await? {
            let missing = !self.secrets.has(&known.record.contract).await?;
            if missing {
                self.deliver_member(pool, &known).await?;
            }
        }
        Ok(())
    }

    async fn deliver_member(&self, pool: &KnownPool, member: &Known) -> Result<(), FleetError> {
        let Some(of) = &member.record.vsi.member_of else {
            return Ok(());
        };
        for template in pool.record.templates() {
            let Some(contract) = self.held(&template.contract).await? else {
                continue;
            };
            let values = PoolValues {
                pool: &pool.record.name,
                number: of.number,
            };
            // A member has no contract that is too long.
            let Ok(filled) = filled_contract(values, &contract) else {
                continue;
            };
            match self
                .secrets
                .recognise(&member.record.contract, &filled)
                .await
            {
                Ok(true) => return Ok(()),
                Ok(false) | Err(SecretError::Missing(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    async fn held(&self, name: &Name) -> Result<Option<Secret>, FleetError> {
        match self.secrets.get(name).await {
            Ok(secret) => Ok(Some(secret)),
            Err(SecretError::Missing(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl ShownMember {
    /// A member from its own record, which does not say its group.
    pub(super) fn of(known: &Known) -> Option<Self> {
        let vsi = &known.record.vsi;
        Some(Self {
            uid: known.record.uid,
            name: vsi.name.clone(),
            of: vsi.member_of.clone()?,
            group: None,
            labels: vsi.labels.clone(),
            image: vsi.image.url.clone(),
            deleting: is_deleting(&known.state),
        })
    }

    /// The labels and annotations for an object of this member.
    pub fn marks(&self) -> (BTreeMap<String, String>, BTreeMap<String, String>) {
        let mut labels = self.labels.clone();
        labels.insert(pool::LABEL.to_owned(), self.of.pool.clone());
        labels.insert(pool::INDEX_LABEL.to_owned(), self.of.number.to_string());
        let annotations = [
            (pool::UID_ANNOTATION, self.of.uid.to_string()),
            (pool::VSI_ANNOTATION, self.uid.to_string()),
            (pool::REVISION_ANNOTATION, self.of.revision.clone()),
        ];
        let annotations = annotations.into_iter();
        let of_group = self.group.iter();
        let of_group = of_group.map(|uid| (group::UID_ANNOTATION, uid.to_string()));
        let annotations = annotations.chain(of_group);
        let annotations = annotations.map(|(key, value)| (key.to_owned(), value));
        (labels, annotations.collect())
    }
}
