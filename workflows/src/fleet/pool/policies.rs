//! What the newest templates of a pool say about data.
//!
//! A promise to retain data does not travel with a rollout: it holds for every member from the moment at
//! which it is recorded. So data is deleted only if the record of its object permits that, and every newest
//! template as well: the pool's own, the one that waits for approval, and the one of the pool's group.

use std::collections::BTreeSet;

use crate::{
    fleet::{Fleet, FleetError, PoolHandle, disk::known::KnownDisk},
    group::GroupRecord,
    pool::{PoolRecord, TemplateRecord, member_disk_name},
    record::{group_entity, pool_entity},
    spec::{DeletionPolicy, DesiredDataDisk},
};

/// What the newest templates of a pool permit. The default permits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::fleet) struct NewestPolicies {
    /// The names of the disk templates whose disks every newest template deletes.
    deleted: BTreeSet<String>,
    /// Whether every newest template permits losing the content of disks with a move to another host.
    pub(in crate::fleet) evictable: bool,
    /// Whether they were read. What was not read permits nothing, and retains nothing that is to be deleted already.
    is_read: bool,
}

impl NewestPolicies {
    /// From the disk templates of every newest template, and whether it is evictable.
    fn of<'t>(templates: impl IntoIterator<Item = (&'t [DesiredDataDisk], bool)>) -> Self {
        let permitted = templates.into_iter().map(|(disks, evictable)| {
            let deletes = |disk: &&DesiredDataDisk| disk.deletion_policy == DeletionPolicy::Delete;
            let deleted = disks.iter().filter(deletes);
            Self {
                deleted: deleted.map(|disk| disk.name.clone()).collect(),
                evictable,
                is_read: true,
            }
        });
        permitted.reduce(Self::and).unwrap_or_default()
    }

    /// What the pool's own templates permit.
    pub(super) fn of_pool(pool: &PoolRecord) -> Self {
        let templates = std::iter::once(&pool.template).chain(&pool.proposed);
        Self::of(templates.map(parts))
    }

    /// What both permit.
    fn and(self, other: Self) -> Self {
        Self {
            deleted: self.deleted.intersection(&other.deleted).cloned().collect(),
            evictable: self.evictable && other.evictable,
            is_read: self.is_read && other.is_read,
        }
    }

    /// Whether the newest templates delete a member's data disk of this name.
    pub(super) fn delete_disk(&self, pool: &str, number: u32, name: &str) -> bool {
        let mut deleted = self.deleted.iter();
        deleted.any(|disk| member_disk_name(disk, pool, number) == name)
    }

    /// Whether a newest template says that a member's data disk stays.
    pub(super) fn retain_disk(&self, disk: &DesiredDataDisk) -> bool {
        self.is_read && self.of_disk(disk) == DeletionPolicy::Retain
    }

    /// The policy of a member's data disk.
    pub(super) fn of_disk(&self, disk: &DesiredDataDisk) -> DeletionPolicy {
        let deleted = disk
            .member_of
            .as_ref()
            .is_some_and(|of| self.delete_disk(&of.pool, of.number, &disk.name));
        if deleted {
            disk.deletion_policy
        } else {
            DeletionPolicy::Retain
        }
    }
}

/// The parts of a template that say what becomes of data.
fn parts(template: &TemplateRecord) -> (&[DesiredDataDisk], bool) {
    (&template.disks, template.evictable)
}

impl Fleet {
    /// What the newest templates of a pool permit. If its group cannot be read, they permit nothing.
    pub(in crate::fleet) async fn newest_policies(&self, pool: &PoolRecord) -> NewestPolicies {
        let own = NewestPolicies::of_pool(pool);
        let Some(of) = &pool.of_group else {
            return own;
        };
        let group = match group_entity(of.uid) {
            Ok(entity) => self.known_record::<GroupRecord>(&entity).await,
            Err(_) => return NewestPolicies::default(),
        };
        let Ok(group) = group else {
            return NewestPolicies::default();
        };
        match group.as_ref().and_then(|group| group.record.item(&of.item)) {
            Some(item) => own.and(NewestPolicies::of([parts(&item.template)])),
            // The group's document does not have it any more, so the group deletes it.
            None => own,
        }
    }

    /// The policy by which a data disk is deleted: for a member's disk, also by the newest templates.
    pub(in crate::fleet) async fn disk_policy(
        &self,
        disk: &KnownDisk,
    ) -> Result<DeletionPolicy, FleetError> {
        let disk = &disk.record.disk;
        let Some(of) = &disk.member_of else {
            return Ok(disk.deletion_policy);
        };
        let entity = pool_entity(of.uid).map_err(|error| FleetError::defect(error.to_string()))?;
        // In a set of journals, the pool may be in another one, which asks only for what may go.
        let Some(pool) = self.known_record::<PoolRecord>(&entity).await? else {
            return Ok(disk.deletion_policy);
        };
        Ok(self.newest_policies(&pool.record).await.of_disk(disk))
    }
}

impl PoolHandle<'_> {
    /// The names of the disk templates of a pool whose disks are deleted with their members: every newest template says so.
    ///
    /// # Errors
    /// When there is no pool of that name.
    pub async fn deleted_disk_templates(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<BTreeSet<String>, FleetError> {
        let pool = self
            .fleet
            .find_record::<PoolRecord>(namespace, name, false)
            .await?;
        Ok(self.fleet.newest_policies(&pool.record).await.deleted)
    }
}

impl Fleet {
    /// The names of the data disks of a pool that are deleted with its members.
    pub(in crate::fleet) async fn deleted_disks_of_pool(
        &self,
        pool: &PoolRecord,
    ) -> Result<Vec<String>, FleetError> {
        let policies = self.newest_policies(pool).await;
        let goes = |disk: &KnownDisk| {
            !disk.is_deleted() && policies.of_disk(&disk.record.disk) == DeletionPolicy::Delete
        };
        let disks = self.disks_of_pool(pool.uid).await?.into_iter();
        let deleted = disks.filter(goes).map(|disk| disk.record.disk.name);
        Ok(deleted.collect())
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::pool::MemberOf;

    fn disk(name: &str, policy: &str) -> DesiredDataDisk {
        serde_json::from_value(serde_json::json!({
            "namespace": "default", "name": name, "host": "sim:a", "pool": "images",
            "size": 1 << 30, "deletionPolicy": policy,
        }))
        .unwrap()
    }

    fn of_member(policy: &str) -> DesiredDataDisk {
        DesiredDataDisk {
            member_of: Some(MemberOf {
                uid: Uuid::nil(),
                pool: "db".to_owned(),
                number: 2,
                revision: String::new(),
            }),
            ..disk("data-db-2", policy)
        }
    }

    #[test]
    fn a_disk_is_deleted_only_if_its_record_and_every_newest_template_say_so() {
        let deletes = [disk("data", "Delete")];
        let retains = [disk("data", "Retain")];
        let newest = |templates: [&[DesiredDataDisk]; 2]| {
            let newest = NewestPolicies::of(templates.map(|disks| (disks, true)));
            newest.of_disk(&of_member("Delete"))
        };
        assert_eq!(newest([&deletes, &deletes]), DeletionPolicy::Delete);
        for other in [&retains[..], &[]] {
            assert_eq!(newest([&deletes, other]), DeletionPolicy::Retain);
            assert_eq!(newest([other, &deletes]), DeletionPolicy::Retain);
        }
        let permitted = NewestPolicies::of([(&deletes[..], true)]);
        assert!(permitted.evictable);
        assert_eq!(
            permitted.of_disk(&of_member("Retain")),
            DeletionPolicy::Retain
        );
        assert!(!NewestPolicies::of([(&deletes[..], true), (&deletes[..], false)]).evictable);
        let nothing = NewestPolicies::default();
        assert_eq!(
            nothing.of_disk(&of_member("Delete")),
            DeletionPolicy::Retain
        );
        assert!(!nothing.evictable);
    }
}
