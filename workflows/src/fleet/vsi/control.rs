//! Deletes, retries, cancels and resumes the work on VSIs and other entities.

use vsiflow_engine::{
    executor::{By, Cancelled, Drive, Retried},
    model::{EntityId, EntityState, Precedence, Timestamp},
};

use super::conditions::JOURNAL_BEHIND;
use crate::fleet::{Fleet, FleetError, Verdict, VsiHandle, index::Known, store::DesiredUpdates};
use crate::{
    data_disk, delete_vsi, orders,
    phase::is_gone,
    record::{VsiRecord, kind},
    spec::DeletionPolicy,
};

/// How an object is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeletionMode {
    /// By its recorded `deletionPolicy`.
    ByPolicy,
    /// The same, because its pool has fewer members. The pool takes it back if it has that member again before anything
    /// is taken away.
    Surplus,
    /// As if its recorded `deletionPolicy` were `Retain`: a document that is not recorded says so.
    Retain,
    /// It is forgotten. Its host is not asked, and everything stays there.
    Orphan,
}

impl DeletionMode {
    /// The mode for a document with this policy.
    pub fn of_document(policy: DeletionPolicy) -> Self {
        match policy {
            DeletionPolicy::Delete => Self::ByPolicy,
            DeletionPolicy::Retain => Self::Retain,
        }
    }

    /// Whether the recorded `deletionPolicy` decides.
    pub(in crate::fleet) fn is_by_policy(self) -> bool {
        matches!(self, Self::ByPolicy | Self::Surplus)
    }

    /// The act for which its order destroys.
    pub(in crate::fleet) fn act(self) -> &'static str {
        match self {
            Self::Surplus => orders::DELETE_SURPLUS,
            _ => orders::DELETE,
        }
    }

    /// Whether a deletion of the entity by this workflow is ordered already. What only a pool ordered is ordered anew by
    /// whoever asks for it: the pool would take it back.
    pub(in crate::fleet) fn is_ordered(
        self,
        entity: &EntityId,
        state: &EntityState,
        workflow: &str,
    ) -> bool {
        let is_taken_over = self == Self::ByPolicy && orders::is_surplus(entity, state);
        orders::deletes_already(entity, state, workflow) && !is_taken_over
    }
}

/// The mode of a command with or without `orphan`.
impl From<bool> for DeletionMode {
    fn from(orphan: bool) -> Self {
        if orphan { Self::Orphan } else { Self::ByPolicy }
    }
}

impl VsiHandle<'_> {
    /// The entity of a VSI that is not deleted.
    ///
    /// # Errors
    /// When there is no VSI of that name.
    pub async fn find(self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        Ok(self.fleet.find(namespace, name, false).await?.entity)
    }

    /// Records that the VSI is to be deleted, with the order to destroy what its guest wrote, and begins the work. A
    /// deletion whose order is void is ordered again. If its `deletionPolicy` is `Retain`, or
    /// the mode says so, it is only forgotten: its host is not asked, and everything there stays.
    ///
    /// # Errors
    /// When there is no VSI of that name.
    pub async fn delete(
        self,
        namespace: &str,
        name: &str,
        mode: impl Into<DeletionMode>,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let mode = mode.into();
        let known = self.fleet.find(namespace, name, false).await?;
        let workflow = if !mode.is_by_policy() || known.is_retained() {
            delete_vsi::FORGET
        } else {
            delete_vsi::NAME
        };
        if mode.is_ordered(&known.entity, &known.state, workflow) {
            self.fleet.engine.retry(known.entity.clone(), by).await?;
            return Ok(known.entity);
        }
        if workflow == delete_vsi::NAME {
            self.fleet.refuse_unknown_past(&known)?;
        }
        let record = VsiRecord {
            formats: self.fleet.formats(&known).await?,
            ..VsiRecord::clone(&known.record)
        };
        let mut updates = DesiredUpdates::default();
        let (entity, supreme) = (known.entity.clone(), Precedence::Supreme);
        updates.add(entity, workflow, supreme, &record, None)?;
        if workflow == delete_vsi::NAME {
            let volumes = orders::boot_disks(&record, &known.state.objects);
            updates.order_deletion_by(mode.act(), volumes);
        }
        self.fleet.record(updates, by).await?;
        Ok(known.entity)
    }
}

impl Fleet {
    /// Refuses to delete a VSI of which its host has seen what this journal does not know. As far as the journal knows,
    /// nothing of it is there, so that the deletion would leave it there, running, and give its addresses away.
    fn refuse_unknown_past(&self, known: &Known) -> Result<(), FleetError> {
        let obstacle = self.obstacle(&known.entity);
        let behind = obstacle.filter(|failure| failure.code.as_str() == JOURNAL_BEHIND);
        match behind {
            Some(failure) if delete_vsi::asks_no_host(&known.record, &known.state) => {
                let remedy = "Use the newer state directory, or have the VSI forgotten with `vsiflow delete --orphan`; \
                              `vsiflow adopt` then takes over what runs.";
                Err(failure.with_remedy(remedy).into())
            }
            _ => Ok(()),
        }
    }

    /// Whether a VSI or data disk was deleted, or is being deleted, without asking its host: everything that
    /// it has there stays.
    pub fn is_forgotten(&self, entity: &EntityId) -> bool {
        let state = self.engine.entity(entity);
        let desired = state.as_ref().and_then(|state| state.desired.as_ref());
        let workflow = desired.map(|desired| desired.workflow.as_str());
        workflow.is_some_and(|name| [delete_vsi::FORGET, data_disk::FORGET].contains(&name))
    }

    /// Retries an entity that is blocked, delayed, failed or cancelled, without further delay.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn retry(&self, entity: EntityId, by: By) -> Result<Retried, FleetError> {
        if entity.kind().as_str() == kind::GROUP {
            return Ok(
                if Box::pin(self.retry_group(&entity, &by)).await?.is_empty() {
                    Retried::NothingToDo
                } else {
                    Retried::Signalled
                },
            );
        }
        if entity.kind().as_str() == kind::POOL {
            return Ok(if self.retry_pool(&entity, &by).await?.is_empty() {
                Retried::NothingToDo
            } else {
                Retried::Signalled
            });
        }
        for awaited in self.awaited_by(&entity).await? {
            self.engine.retry(awaited, by.clone()).await?;
        }
        Ok(self.engine.retry(entity, by).await?)
    }

    /// Requests the cancellation of the entity's open run. What it has made so far stays.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn cancel(&self, entity: EntityId, by: By) -> Result<Cancelled, FleetError> {
        Ok(self.engine.cancel(entity, by).await?)
    }

    /// Resumes the work on these entities after a crash or an interrupt.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn resume(&self, entities: Vec<EntityId>, by: By) -> Result<(), FleetError> {
        self.work_on_pools(entities.iter().cloned());
        let entities = self.with_disks(entities).await?;
        self.engine.drive(Drive::These(entities.clone())).await?;
        self.recheck(&entities, &by).await
    }

    /// These entities, preceded by the data disks and networks that they wait for.
    pub(in crate::fleet) async fn with_disks(
        &self,
        entities: Vec<EntityId>,
    ) -> Result<Vec<EntityId>, FleetError> {
        let mut all = Vec::new();
        for entity in &entities {
            all.extend(self.awaited_by(entity).await?);
        }
        all.extend(entities);
        Ok(all)
    }

    /// Resumes the work on all entities, and works on new ones as they come.
    ///
    /// # Errors
    /// When the journal fails.
    pub async fn drive_all(&self) -> Result<(), FleetError> {
        self.engine.drive(Drive::All).await?;
        self.work_on_all_pools();
        Ok(())
    }

    /// Drops the states of runs that ended before that moment and are no longer needed. Returns how many it
    /// dropped.
    ///
    /// # Errors
    /// When the engine has ended, or only observes.
    pub async fn forget_ended(&self, before: Timestamp) -> Result<usize, FleetError> {
        Ok(self.engine.forget_ended(before, is_gone).await?)
    }

    /// Whether no entity has an open run.
    pub fn is_quiet(&self) -> bool {
        let entities = self.engine.entities();
        entities.values().all(|state| state.active.is_none())
    }

    /// The entities with an open run.
    pub fn working(&self) -> Vec<EntityId> {
        let entities = self.engine.entities();
        let open = entities.iter().filter(|(_, state)| state.active.is_some());
        open.map(|(entity, _)| entity.clone()).collect()
    }

    /// Retries blocked entities now: a caller that asks now needs to know whether the obstacle still
    /// exists.
    pub(in crate::fleet) async fn recheck(
        &self,
        entities: &[EntityId],
        by: &By,
    ) -> Result<(), FleetError> {
        for entity in entities {
            let is_blocked = matches!(self.verdict(entity), Some(Verdict::Blocked(_)));
            if is_blocked {
                self.engine.retry(entity.clone(), by.clone()).await?;
            }
        }
        Ok(())
    }

    /// The VSIs that have not reached their desired state and can be read: all, or those on one host.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn unsettled(&self, host: Option<&str>) -> Result<Vec<EntityId>, FleetError> {
        let open = |known: &Known| {
            known.unreadable.is_none()
                && !known.state.is_settled()
                && !known.is_deleted()
                && host.is_none_or(|host| known.record.vsi.host == host)
        };
        let known = self.known().await?;
        Ok(known
            .into_iter()
            .filter(open)
            .map(|known| known.entity)
            .collect())
    }

    /// The VSIs with an open run, with a desired state that no run was opened for, or with a failed boot
    /// that is to be retried.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn interrupted(&self) -> Result<Vec<EntityId>, FleetError> {
        let open = |known: &Known| {
            let begun = known.state.active.is_some() || known.state.next_try.is_some();
            let is_open = begun || self.own_verdict(&known.entity).is_none();
            known.unreadable.is_none() && is_open
        };
        let known = self.known().await?;
        Ok(known
            .into_iter()
            .filter(open)
            .map(|known| known.entity)
            .collect())
    }
}
