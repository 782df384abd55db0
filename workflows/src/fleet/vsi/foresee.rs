//! What the guards of a host would refuse, for commands that only show what they would do.

use uuid::Uuid;
use vsiflow_engine::model::{EntityId, Failure};
use vsiflow_steps::{
    guards::{self, SharedBy},
    ports::VolumeKey,
};

use crate::{
    delete_vsi,
    fleet::{
        DiskHandle, Fleet, FleetError, GroupHandle, PoolHandle, VsiHandle, disk::known::KnownDisk,
        index::Known,
    },
    group::GroupRecord,
    plan::Doomed,
    pool::PoolRecord,
    record::kind,
    vsi_graph::BootDisks,
};

impl VsiHandle<'_> {
    /// Why a deletion of the VSI would be refused by its host now; `None` if nothing forbids it. Nothing is
    /// changed.
    ///
    /// # Errors
    /// When there is no such VSI.
    pub async fn deletion_refusal(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Failure>, FleetError> {
        let known = self.fleet.find(namespace, name, false).await?;
        Ok(self.fleet.deletion_refusal(&known).await)
    }
}

impl DiskHandle<'_> {
    /// Why a deletion of the data disk would be refused by its host now; `None` if nothing forbids it. The VSI that
    /// has the disk is taken for deleted. Nothing is changed.
    ///
    /// # Errors
    /// When there is no such data disk, or when no volume may be deleted now.
    pub async fn deletion_refusal(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Failure>, FleetError> {
        let known = self.fleet.find_disk(namespace, name, false).await?;
        self.fleet
            .refuse_while_unreadable("the deletion of a data disk")
            .await?;
        self.refusal_of(known).await
    }

    async fn refusal_of(self, known: KnownDisk) -> Result<Option<Failure>, FleetError> {
        let vsis = self.fleet.known_with(known.uid).await?;
        let user = vsis.iter().find(|vsi| known.is_used_by(vsi));
        let volume = known.volume();
        let host = &known.record.disk.host;
        let cx = self
            .fleet
            .engine
            .question(known.entity.clone(), self.fleet.journal_id.clone());
        let elsewhere =
            guards::unused_elsewhere(&cx, &self.fleet.hosts, host, &volume, SharedBy::Name);
        if let Err(refusal) = elsewhere.await {
            return Ok(Some(refusal));
        }
        let volumes = known.volumes();
        let rewritten = RewrittenVolumes {
            entity: known.entity,
            host,
            volumes: &volumes,
            owner: user.map_or(known.uid, |vsi| vsi.record.uid),
        };
        Ok(self.fleet.foreseen_refusal(rewritten).await)
    }
}

impl PoolHandle<'_> {
    /// Why the deletion of a member of the pool would be refused by its host now; `None` if nothing forbids it.
    /// Nothing is changed.
    ///
    /// # Errors
    /// When there is no such pool.
    pub async fn deletion_refusal(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Failure>, FleetError> {
        let pool = self.fleet.find_record::<PoolRecord>(namespace, name, false);
        let uid = pool.await?.record.uid;
        self.fleet.members_refusal(uid).await
    }
}

impl GroupHandle<'_> {
    /// As [`PoolHandle::deletion_refusal`], for the pools of the group.
    ///
    /// # Errors
    /// When there is no such group.
    pub async fn deletion_refusal(
        self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Failure>, FleetError> {
        let group = self
            .fleet
            .find_record::<GroupRecord>(namespace, name, false);
        let pools = self.fleet.pools_of_group(group.await?.record.uid).await?;
        for pool in pools.into_values() {
            if let Some(refusal) = self.fleet.members_refusal(pool.record.uid).await? {
                return Ok(Some(refusal));
            }
        }
        Ok(None)
    }
}

impl Fleet {
    /// Why the host of what a plan destroys would refuse that now; `None` if nothing forbids it. Nothing is changed.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn doomed_refusal(&self, doomed: &Doomed) -> Result<Option<Failure>, FleetError> {
        let (Doomed::Deleted(entity) | Doomed::Rebuilt(entity)) = doomed;
        if entity.kind().as_str() == kind::DISK {
            return match self.known_disk(entity.clone()).await? {
                Some(disk) => self.disks().refusal_of(disk).await,
                None => Ok(None),
            };
        }
        let Some(known) = self.known_of(entity).await? else {
            return Ok(None);
        };
        Ok(match doomed {
            Doomed::Deleted(_) => self.deletion_refusal(&known).await,
            Doomed::Rebuilt(_) => self.rewrite_refusal(&known).await,
        })
    }

    async fn members_refusal(&self, pool: Uuid) -> Result<Option<Failure>, FleetError> {
        for member in self.known_of_pool(pool).await? {
            if let Some(refusal) = self.deletion_refusal(&member).await {
                return Ok(Some(refusal));
            }
        }
        Ok(None)
    }

    async fn deletion_refusal(&self, known: &Known) -> Option<Failure> {
        let state = self.engine.entity(&known.entity)?;
        let volumes = delete_vsi::volumes(&known.record, &state).into_iter();
        let recorded = volumes.filter(|doomed| doomed.recorded);
        let keys: Vec<_> = recorded.map(|doomed| doomed.volume).collect();
        self.foreseen_refusal(RewrittenVolumes::of(known, &keys))
            .await
    }

    /// Why the host would refuse to write the disks of the VSI again.
    pub(in crate::fleet) async fn rewrite_refusal(&self, known: &Known) -> Option<Failure> {
        let mut keys = vec![BootDisks::of(&known.record, &known.state.objects).current()];
        keys.extend(self.present_volumes(&known.record));
        self.foreseen_refusal(RewrittenVolumes::of(known, &keys))
            .await
    }

    /// Why the host would refuse to delete the volumes or to write them again.
    async fn foreseen_refusal(&self, rewritten: RewrittenVolumes<'_>) -> Option<Failure> {
        let RewrittenVolumes {
            entity,
            host,
            volumes,
            owner,
        } = rewritten;
        if volumes.is_empty() {
            return None;
        }
        let ports = match self.hosts.host(host).await {
            Ok(ports) => ports,
            Err(error) => return Some(error.into()),
        };
        let cx = self.engine.question(entity, self.journal_id.clone());
        guards::foresee(&cx, &ports, volumes, owner).await.err()
    }
}

/// Volumes that a command would delete or write again.
struct RewrittenVolumes<'a> {
    /// The entity that would do that.
    entity: EntityId,
    host: &'a str,
    volumes: &'a [VolumeKey],
    /// The VSI whose own domain may name them.
    owner: Uuid,
}

impl<'a> RewrittenVolumes<'a> {
    /// Volumes of a VSI.
    fn of(known: &'a Known, volumes: &'a [VolumeKey]) -> Self {
        Self {
            entity: known.entity.clone(),
            host: &known.record.vsi.host,
            volumes,
            owner: known.record.uid,
        }
    }
}
