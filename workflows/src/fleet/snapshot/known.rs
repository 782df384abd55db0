//! Looks up snapshots by name, and deletes them.

use std::sync::Arc;

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, EntityState, Failure, FailureClass, Precedence},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, SnapshotHandle, index::Known, object::qualified,
    store::DesiredUpdates,
};
use crate::{
    orders,
    phase::Phase,
    plan,
    record::{SnapshotAction, SnapshotRecord, kind},
    restoration, snapshot,
};

/// A snapshot with its recorded state.
#[derive(Clone, Debug)]
pub(in crate::fleet) struct KnownSnapshot {
    pub(in crate::fleet) entity: EntityId,
    pub(in crate::fleet) uid: Uuid,
    pub(in crate::fleet) state: Arc<EntityState>,
    pub(in crate::fleet) record: SnapshotRecord,
}

impl KnownSnapshot {
    pub(in crate::fleet) fn phase(&self) -> &str {
        let recorded = self.state.state.as_ref();
        recorded.map_or(Phase::Pending.as_str(), |(name, _)| name.as_str())
    }

    pub(in crate::fleet) fn is_deleted(&self) -> bool {
        self.phase() == Phase::Deleted.as_str()
    }

    pub(in crate::fleet) fn is_ready(&self) -> bool {
        self.phase() == READY
    }

    pub(in crate::fleet) fn is_named(&self, namespace: &str, name: &str) -> bool {
        let own = &self.record;
        own.namespace == namespace && (own.name == name || self.entity.id() == name)
    }

    /// The sort key for lists.
    fn place(&self) -> (&str, &str) {
        (&self.record.namespace, &self.record.name)
    }

    fn workflow(&self) -> &str {
        let desired = self.state.desired.as_ref();
        desired.map_or("", |desired| desired.workflow.as_str())
    }
}

/// The phase of a snapshot whose copies are whole.
pub(in crate::fleet) const READY: &str = "Ready";

/// The failure `VSI0740`: the request does not fit the current state.
pub(in crate::fleet) fn refused(object: &str, message: &str, remedy: &str) -> FleetError {
    let failure = Failure::new(FailureClass::Blocked, "VSI0740", message)
        .of_object(object)
        .with_remedy(remedy);
    FleetError::new(ErrorKind::Blocked, failure)
}

impl SnapshotHandle<'_> {
    /// The entity of a snapshot that is not deleted.
    ///
    /// # Errors
    /// When there is no snapshot of that name.
    pub async fn find(self, namespace: &str, name: &str) -> Result<EntityId, FleetError> {
        Ok(self
            .fleet
            .find_snapshot(namespace, name, false)
            .await?
            .entity)
    }

    /// Whether the copies of a snapshot are whole.
    pub fn is_ready(self, entity: &EntityId) -> bool {
        let state = self
            .fleet
            .engine
            .entity(entity)
            .and_then(|e| e.state.clone());
        state.is_some_and(|(name, _)| name.as_str() == READY)
    }

    /// Records that a snapshot is to be deleted, and starts to delete its copies. A snapshot that is
    /// being taken is abandoned. With `orphan`, it is only forgotten, and the copies remain.
    ///
    /// # Errors
    /// When there is no snapshot of that name, or a VSI is being restored to it.
    pub async fn delete(
        self,
        namespace: &str,
        name: &str,
        orphan: bool,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let known = self.fleet.find_snapshot(namespace, name, false).await?;
        let workflow = if orphan {
            snapshot::FORGET
        } else {
            snapshot::DELETE
        };
        if orders::deletes_already(&known.entity, &known.state, workflow) {
            self.fleet.engine.retry(known.entity.clone(), by).await?;
            return Ok(known.entity);
        }
        self.fleet
            .refuse_while_unreadable("the deletion of a snapshot")
            .await?;
        let mut updates = DesiredUpdates::default();
        self.fleet.give_up(&known, &mut updates).await?;
        let (entity, supreme) = (known.entity.clone(), Precedence::Supreme);
        updates.add(entity, workflow, supreme, &known.record, None)?;
        if workflow == snapshot::DELETE {
            updates.order_deletion(known.state.objects.made.keys().cloned());
        }
        self.fleet.record(updates, by).await?;
        Ok(known.entity)
    }

    /// The snapshots with unfinished work.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn interrupted(self) -> Result<Vec<(EntityId, String, String)>, FleetError> {
        let known = self.fleet.known_snapshots().await?.into_iter();
        let open = known.filter(|one| {
            let desired = one.state.desired.as_ref();
            let leaving = [snapshot::DELETE, snapshot::FORGET].contains(&one.workflow());
            let newest = desired.map(|desired| desired.generation);
            let begun = newest.is_some_and(|newest| newest == one.state.attempted);
            one.state.active.is_some() || leaving && !one.state.is_settled() && !begun
        });
        let named = open.map(|one| (one.entity, one.record.namespace, one.record.name));
        Ok(named.collect())
    }
}

impl Fleet {
    /// All snapshots, deleted ones included, by namespace and name.
    pub(in crate::fleet) async fn known_snapshots(&self) -> Result<Vec<KnownSnapshot>, FleetError> {
        let mut all = Vec::new();
        for (entity, state, record) in self.all_desired::<SnapshotRecord>(kind::SNAPSHOT).await? {
            if let Ok(uid) = entity.id().parse() {
                all.push(KnownSnapshot {
                    entity,
                    uid,
                    state,
                    record,
                });
            }
        }
        all.sort_by(|a, b| a.place().cmp(&b.place()));
        Ok(all)
    }

    pub(in crate::fleet) async fn find_snapshot(
        &self,
        namespace: &str,
        name: &str,
        deleted: bool,
    ) -> Result<KnownSnapshot, FleetError> {
        let (namespace, name) = qualified(namespace, name);
        let known = self.known_snapshots().await?.into_iter();
        let mut named: Vec<_> = known
            .filter(|one| one.is_named(namespace, name) && (deleted || !one.is_deleted()))
            .collect();
        named.sort_by_key(|one| (!one.is_deleted(), one.state.runs.last().copied()));
        if let Some(found) = named.pop() {
            return Ok(found);
        }
        self.refuse_absence(kind::SNAPSHOT, namespace, name).await?;
        Err(FleetError::not_found(kind::SNAPSHOT, name))
    }

    /// Drops the orders of VSIs to take a snapshot. Refuses if a VSI is being restored to it.
    pub(super) async fn give_up(
        &self,
        snapshot: &KnownSnapshot,
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        for vsi in self.known().await? {
            let order = pending(&vsi).filter(|_| !vsi.is_deleted());
            match order.map(|order| (order.snapshot() == snapshot.uid, &order.action)) {
                Some((true, SnapshotAction::Take { snapshot, record })) => {
                    let action = SnapshotAction::Drop {
                        snapshot: *snapshot,
                        record: record.clone(),
                    };
                    self.order(&vsi, action, updates).await?;
                }
                Some((true, SnapshotAction::Restore { .. })) => {
                    let message = format!("VSI {} is being put back to it", vsi.label());
                    let object = format!("snapshot/{}", snapshot.record.name);
                    let remedy = "wait for that, or `vsiflow retry` the VSI, then delete it";
                    return Err(refused(&object, &message, remedy));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The snapshot order of a VSI that is not done yet.
pub(in crate::fleet) fn pending(vsi: &Known) -> Option<&crate::record::SnapshotOrder> {
    let order = vsi.record.snapshot.as_ref()?;
    if vsi.state.is_settled() {
        return None;
    }
    if let SnapshotAction::Restore { .. } = order.action {
        let is_due = restoration::is_due(&vsi.record, &vsi.state.objects);
        return is_due.then_some(order);
    }
    let base = plan::base(&vsi.record, &vsi.state);
    let done = base.is_some_and(|base| base.snapshot == Some(order.id));
    (!done).then_some(order)
}
