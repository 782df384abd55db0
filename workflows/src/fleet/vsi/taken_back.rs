//! Takes back deletions that are ordered and took nothing away yet: everything may be paused, or a host silent, since.
//!
//! A step spends its order before it deletes, so an order that is not spent took nothing away. The intents of steps do not
//! say that: they are recorded before the guards refuse, and outlive their runs.

use vsiflow_engine::{
    executor::By,
    model::{EntityId, EntityState, Name, NodeState, ObjectInUse, Precedence},
    step::Step as _,
};
use vsiflow_steps::vsi::UndefineDomain;

use crate::{
    boot_disks, data_disk,
    fleet::{
        DeletionMode, Fleet, FleetError, disk::known::KnownDisk, index::Known,
        store::DesiredUpdates,
    },
    record::DiskRecord,
};

impl Fleet {
    /// Takes back the deletion of a VSI, if nothing of it is taken away yet. Returns whether it stays. Its orders are void
    /// first: after a crash in between, the deletion is blocked, and is taken back or ordered again.
    pub(in crate::fleet) async fn take_back_deletion(
        &self,
        known: &Known,
        by: &By,
    ) -> Result<bool, FleetError> {
        let objects = &known.state.objects;
        let is_there = |used: &ObjectInUse| objects.made.contains_key(&used.object);
        let lasts = !boot_disks::is_ephemeral(&known.record.vsi);
        if lasts && !objects.in_use.as_ref().is_some_and(is_there) {
            return Ok(false);
        }
        if !self.voids_deletion(&known.entity, by).await? {
            return Ok(false);
        }
        let (entity, supreme) = (known.entity.clone(), Precedence::Supreme);
        let mut updates = DesiredUpdates::default();
        let made_from = known.made_from();
        let (workflow, record) = (known.workflow_of_changes(), known.record.as_ref());
        updates.add(entity, workflow, supreme, record, made_from)?;
        self.record(updates, by.clone()).await?;
        Ok(true)
    }

    /// The same for a data disk.
    pub(in crate::fleet) async fn take_back_disk_deletion(
        &self,
        disk: &KnownDisk,
        by: &By,
    ) -> Result<bool, FleetError> {
        let is_there = !disk.state.objects.made.is_empty();
        if !is_there || !self.voids_deletion(&disk.entity, by).await? {
            return Ok(false);
        }
        let record = DiskRecord {
            turn: None,
            ..disk.record.clone()
        };
        let (entity, supreme) = (disk.entity.clone(), Precedence::Supreme);
        let mut updates = DesiredUpdates::default();
        updates.add(entity, data_disk::NAME, supreme, &record, None)?;
        self.record(updates, by.clone()).await?;
        Ok(true)
    }

    /// Forgets a data disk that was to be deleted, if nothing of it is taken away yet: its volume stays.
    ///
    /// # Errors
    /// When a VSI that stays has the disk; when the journal fails.
    pub(in crate::fleet) async fn forget_instead(
        &self,
        disk: &KnownDisk,
        by: By,
    ) -> Result<(), FleetError> {
        if self.voids_deletion(&disk.entity, &by).await? {
            let namespace = &disk.record.disk.namespace;
            let (uid, retain) = (disk.entity.id(), DeletionMode::Retain);
            self.disks().delete(namespace, uid, retain, by).await?;
        }
        Ok(())
    }

    /// Voids the orders of a deletion, unless it began to take something away.
    async fn voids_deletion(&self, entity: &EntityId, by: &By) -> Result<bool, FleetError> {
        if self.takes_away(entity) {
            return Ok(false);
        }
        self.engine.cancel(entity.clone(), by.clone()).await?;
        // A step may have spent the order before it was void.
        Ok(!self.takes_away(entity))
    }

    /// Whether a deletion of the entity began to take away its definition or its volumes. A step that its guards refused
    /// took nothing away: it spends the order first.
    pub(in crate::fleet) fn takes_away(&self, entity: &EntityId) -> bool {
        let Some(state) = self.engine.entity(entity) else {
            return true;
        };
        let mut orders = state.objects.warrants.values();
        let is_spent = orders.any(|order| order.spent.is_some());
        is_spent || !state.objects.unfinished.is_empty() || self.undefines(&state)
    }

    /// Whether a run of the newest desired state undefines the domain, or did.
    fn undefines(&self, state: &EntityState) -> bool {
        let newest = state.desired.as_ref().map(|desired| desired.generation);
        let active = state.active.as_ref().map(|active| active.run);
        let last = state
            .last
            .as_ref()
            .filter(|last| Some(last.generation) == newest);
        let runs = active.into_iter().chain(last.map(|last| last.run));
        let mut runs = runs.filter_map(|run| self.engine.run(run));
        let undefine = Name::of(UndefineDomain::NAME);
        runs.any(|run| {
            let node = run.nodes.get(&undefine);
            matches!(
                node,
                Some(NodeState::Running { .. } | NodeState::Succeeded { .. })
            )
        })
    }
}
