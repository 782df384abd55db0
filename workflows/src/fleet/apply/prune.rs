//! Finds what was applied from a directory and has no document there any more.

use std::collections::BTreeSet;

use vsiflow_engine::model::{EntityId, EntityState, Failure, FailureClass, Precedence};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, apply::is_deleting, disk::known::KnownDisk, index::Known,
    store::DesiredUpdates,
};
use crate::{
    group::GroupRecord,
    phase,
    pool::PoolRecord,
    record::{DirectoryRecord, directory_entity, kind},
    spec::{DeletionPolicy, Directory, Resolved},
};

/// An object whose document no longer exists in its directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its kind: `vsi`, `disk`, `pool` or `group`.
    pub kind: &'static str,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Whether its volume remains on the host; for a VSI, everything.
    pub keeps_volume: bool,
    /// How many objects are deleted with it, itself included; for a pool or group, its members.
    pub count: usize,
    /// The names of the data disks of members that are deleted with them.
    pub data_disks: Vec<String>,
}

/// A directory that documents were applied from.
struct KnownDirectory {
    entity: EntityId,
    generation: u64,
    record: DirectoryRecord,
}

impl Fleet {
    /// What was applied from the directory of these documents before, still exists, and has no document
    /// there now: VSIs first. A data disk used by a VSI that stays is not included.
    ///
    /// # Errors
    /// When the directory is now on another file system than when it was applied, or the journal cannot
    /// be read.
    pub async fn left_out(&self, resolved: &Resolved) -> Result<Vec<LeftOut>, FleetError> {
        let Some(here) = &resolved.directory else {
            return Ok(Vec::new());
        };
        let all = self.known_directories().await?;
        let place = |one: &&KnownDirectory| {
            let then = &one.record.directory;
            then.path == here.path && then.recursive == here.recursive
        };
        let mut left = Vec::new();
        for one in all.iter().filter(place) {
            let found = self.left_out_of(&one.record, resolved).await?;
            if one.record.directory.mount != here.mount && !found.is_empty() {
                return Err(elsewhere(&one.record.directory, here));
            }
            left.extend(found);
        }
        Ok(left)
    }

    async fn left_out_of(
        &self,
        directory: &DirectoryRecord,
        resolved: &Resolved,
    ) -> Result<Vec<LeftOut>, FleetError> {
        let is_member = |entity: &EntityId| directory.members.contains(&entity.to_string());
        let known = self.known().await?;
        let staying = |vsi: &&Known| {
            let left_out = is_member(&vsi.entity) && !describes_vsi(resolved, vsi);
            stays(vsi) && !left_out
        };
        let staying: Vec<_> = known.iter().filter(staying).cloned().collect();
        let vsis = known.into_iter();
        let vsis = vsis.filter(|vsi| is_member(&vsi.entity) && stays(vsi));
        let vsis = vsis.filter(|vsi| !describes_vsi(resolved, vsi));
        let vsis = vsis.map(|known_vsi| LeftOut {
            kind: kind::VSI,
            namespace: known_vsi.record.vsi.namespace.clone(),
            name: known_vsi.record.vsi.name.clone(),
            keeps_volume: known_vsi.is_retained(),
            count: 1,
            data_disks: Vec::new(),
        });
        let disks = self.known_disks().await?.into_iter();
        let disks = disks.filter(|d| is_member(&d.entity) && !d.is_deleted() && !d.is_deleting());
        let disks = disks.filter(|disk| !describes_disk(resolved, disk));
        let disks = disks.filter(|disk| !staying.iter().any(|vsi| disk.is_used_by(vsi)));
        let mut left: Vec<_> = vsis.collect();
        for known_disk in disks {
            let policy = self.disk_policy(&known_disk).await?;
            left.push(LeftOut {
                kind: kind::DISK,
                keeps_volume: policy == DeletionPolicy::Retain,
                count: 1,
                data_disks: Vec::new(),
                namespace: known_disk.record.disk.namespace,
                name: known_disk.record.disk.name,
            });
        }
        left.extend(self.pools_left_out(directory, resolved).await?);
        left.extend(self.groups_left_out(directory, resolved).await?);
        Ok(left)
    }

    async fn pools_left_out(
        &self,
        directory: &DirectoryRecord,
        resolved: &Resolved,
    ) -> Result<Vec<LeftOut>, FleetError> {
        let mut left = Vec::new();
        for pool in self.living::<PoolRecord>().await? {
            let its = &pool.record;
            let described = resolved.pools.iter().any(|document| {
                let document = &document.desired;
                document.namespace == its.namespace && document.name == its.name
            });
            let is_member = directory.members.contains(&pool.entity.to_string());
            if described || !is_member || pool.is_deleting() {
                continue;
            }
            left.push(LeftOut {
                kind: kind::POOL,
                namespace: its.namespace.clone(),
                name: its.name.clone(),
                keeps_volume: false,
                count: self.count_members(&pool).await?,
                data_disks: self.deleted_disks_of_pool(its).await?,
            });
        }
        Ok(left)
    }

    async fn groups_left_out(
        &self,
        directory: &DirectoryRecord,
        resolved: &Resolved,
    ) -> Result<Vec<LeftOut>, FleetError> {
        let mut left = Vec::new();
        for group in self.living::<GroupRecord>().await? {
            let its = &group.record;
            let mut documents = resolved.groups.iter();
            let described = documents.any(|document| {
                (&document.namespace, &document.name) == (&its.namespace, &its.name)
            });
            let is_member = directory.members.contains(&group.entity.to_string());
            if described || !is_member || group.is_deleting() {
                continue;
            }
            let mut data_disks = Vec::new();
            for pool in self.pools_of_group(its.uid).await?.values() {
                data_disks.extend(self.deleted_disks_of_pool(&pool.record).await?);
            }
            left.push(LeftOut {
                kind: kind::GROUP,
                namespace: its.namespace.clone(),
                name: its.name.clone(),
                keeps_volume: false,
                count: self.count_group(&group).await?,
                data_disks,
            });
        }
        Ok(left)
    }

    /// Updates the members of directories: an applied entity belongs to the directory it was last
    /// applied from, if any.
    pub(in crate::fleet) async fn remember(
        &self,
        here: Option<&Directory>,
        applied: &[EntityId],
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        let applied: BTreeSet<_> = applied.iter().map(ToString::to_string).collect();
        let mut all = self.known_directories().await?;
        if let Some(here) = here
            && !all.iter().any(|one| one.record.directory == *here)
        {
            // A directory record that cannot be read starts empty: its earlier members are not pruned.
            let mut new = KnownDirectory::new(here)?;
            let lost = self.engine.entity(&new.entity);
            new.generation = lost.map_or(0, |state| generation(&state));
            all.push(new);
        }
        for one in all {
            let mut members = one.record.members.clone();
            if Some(&one.record.directory) == here {
                members.extend(applied.iter().cloned())
            } else {
                members.retain(|member| !applied.contains(member))
            }
            members.retain(|member| applied.contains(member) || self.is_there(member));
            if members != one.record.members {
                let record = DirectoryRecord {
                    members,
                    ..one.record
                };
                let (precedence, newest) = (Precedence::Record, Some(one.generation));
                updates.add(one.entity, kind::DIRECTORY, precedence, &record, newest)?;
            }
        }
        Ok(())
    }

    fn is_there(&self, member: &str) -> bool {
        let entity = member.parse::<EntityId>().ok();
        let state = entity
            .as_ref()
            .and_then(|entity| self.engine.entity(entity));
        entity
            .zip(state)
            .is_some_and(|(entity, state)| !phase::is_gone(&entity, &state))
    }

    async fn known_directories(&self) -> Result<Vec<KnownDirectory>, FleetError> {
        let all = self.all_desired(kind::DIRECTORY).await?.into_iter();
        let all = all.map(|(entity, state, record)| KnownDirectory {
            entity,
            generation: generation(&state),
            record,
        });
        Ok(all.collect())
    }
}

impl KnownDirectory {
    /// A directory that nothing was applied from yet.
    fn new(directory: &Directory) -> Result<Self, FleetError> {
        let entity = directory_entity(directory);
        Ok(Self {
            entity: entity.map_err(|error| FleetError::defect(error.to_string()))?,
            generation: 0,
            record: DirectoryRecord {
                directory: directory.clone(),
                members: BTreeSet::new(),
            },
        })
    }
}

fn generation(state: &EntityState) -> u64 {
    let desired = state.desired.as_ref();
    desired.map_or(0, |desired| desired.generation)
}

fn stays(vsi: &Known) -> bool {
    !vsi.is_deleted() && !is_deleting(&vsi.state) && vsi.unreadable.is_none()
}

fn describes_vsi(resolved: &Resolved, known: &Known) -> bool {
    let its = &known.record.vsi;
    resolved.vsis.iter().any(|vsi| {
        let named = vsi.desired.namespace == its.namespace && vsi.desired.name == its.name;
        named || vsi.desired.uid == Some(known.record.uid)
    })
}

fn describes_disk(resolved: &Resolved, known: &KnownDisk) -> bool {
    let its = &known.record.disk;
    resolved.data_disks.iter().any(|disk| {
        let named = disk.namespace == its.namespace && disk.name == its.name;
        named || disk.uid == Some(known.uid)
    })
}

fn elsewhere(then: &Directory, now: &Directory) -> FleetError {
    let message = format!(
        "the file system at {} differs from the one that was applied: {} then, {} now",
        now.path, then.mount, now.mount
    );
    let failure = Failure::new(FailureClass::Blocked, "VSI0708", message)
        .of_object(format!("directory {}", now.path))
        .with_remedy(
            "mount it again; if the new one is intended, apply without --prune and \
             delete by name what is not needed",
        );
    FleetError::new(ErrorKind::Blocked, failure)
}
