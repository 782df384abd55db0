//! Takes in what documents ask for.

use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    executor::{By, Drive},
    model::{EntityId, EntityState},
};

use super::{
    ErrorKind, Fleet, FleetError, batch::ApplyBatch, index::Known, store::DesiredUpdates,
    unreadable::refuse_lost, vsi::retained_refs,
};
use crate::{
    delete_vsi,
    phase::Phase,
    plan::{Change as FieldChange, Plan},
    record::{RolloutPredecessor, kind},
    spec::{DesiredDataDisk, Resolved, ResolvedVsi},
    update_vsi,
};

/// What an apply did about one VSI or data disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// It is new.
    Created,
    /// Something else is wanted of it now.
    Configured,
    /// Nothing changed.
    Unchanged,
}

/// A VSI or a data disk that was applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// What it is: `vsi` or `disk`.
    pub kind: &'static str,
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// Its entity; none after a dry run that would have created it.
    pub entity: Option<EntityId>,
    /// What was done.
    pub change: Change,
    /// The fields that differ from what documents asked for before.
    pub fields: Vec<FieldChange>,
    /// What it takes to get there.
    pub plan: Plan,
    /// Whether the plan waits until somebody approves it.
    pub awaits_approval: bool,
    /// References whose documents are away: what they gave stays as it is.
    pub retained_refs: Vec<String>,
    /// The contract that it was made from was lost, and the document's is kept in its place.
    pub contract_put_back: bool,
}

impl Fleet {
    /// Records what is wanted of VSIs and data disks, VSIs first in what it gives back, all of it in
    /// one batch or nothing, and begins to work on it. Where
    /// nothing changed and something stands in the way, that is looked at again.
    ///
    /// A VSI that was made before is changed by a plan; one whose `updatePolicy` is `Manual` stays
    /// as it is until somebody approves. Of several that are interrupted by one apply each waits
    /// for the one before it.
    ///
    /// # Errors
    /// Before anything is recorded: when a VSI of the name is being deleted, or when a field cannot
    /// be changed, or of a data disk the same.
    pub async fn apply(&self, resolved: Resolved, by: By) -> Result<Vec<Applied>, FleetError> {
        // Before secrets and blobs are written, which need room as well.
        self.engine.takes_wishes()?;
        self.record_machines().await?;
        let mut updates = DesiredUpdates::default();
        let known = self.concerned(&resolved).await?;
        self.refuse_all(&resolved, &known).await?;
        let directory = resolved.directory.clone();
        for host in resolved.hosts.clone().into_values() {
            self.host_wish(host, &mut updates).await?;
        }
        let made = self.take_in_disks(&resolved, &known, &mut updates);
        let (disks, applied) = made.await?;
        let mut batch = ApplyBatch::new(self, known, disks, false);
        batch.updates = updates;
        let pools = self.take_in_pools(&resolved, &mut batch.updates, false);
        let pools = Box::pin(pools).await?;
        let mut all = batch.take_in(resolved).await?;
        all.extend(applied);
        all.extend(pools);
        let entities: Vec<_> = all.iter().filter_map(|one| one.entity.clone()).collect();
        self.remember(directory.as_ref(), &entities, &mut batch.updates)
            .await?;
        self.record(batch.updates, by.clone()).await?;
        let entities = self.with_disks(entities).await?;
        self.engine.drive(Drive::These(entities.clone())).await?;
        self.look_again(&entities, &by).await?;
        self.work_on_pools(entities);
        Ok(all)
    }

    /// Says what [`Fleet::apply`] would do; records nothing.
    ///
    /// # Errors
    /// As for [`Fleet::apply`].
    pub async fn apply_dry(&self, resolved: &Resolved) -> Result<Vec<Applied>, FleetError> {
        let known = self.concerned(resolved).await?;
        self.refuse_all(resolved, &known).await?;
        self.plan(resolved).await
    }

    /// What it would take to bring every VSI to what documents describe, refused changes
    /// included; records nothing.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn plan(&self, resolved: &Resolved) -> Result<Vec<Applied>, FleetError> {
        let (known, mut updates) = (self.concerned(resolved).await?, DesiredUpdates::default());
        let disks = self.take_in_disks(resolved, &known, &mut updates);
        let (disks, planned) = disks.await?;
        let mut batch = ApplyBatch::new(self, known, disks, true);
        let mut all = batch.take_in(resolved.clone()).await?;
        all.extend(planned);
        let pools = self.take_in_pools(resolved, &mut updates, true);
        all.extend(Box::pin(pools).await?);
        Ok(all)
    }

    async fn refuse_all(&self, resolved: &Resolved, known: &[Known]) -> Result<(), FleetError> {
        // They are large, and most documents have nothing for them.
        Box::pin(self.refuse_pools(resolved, known)).await?;
        self.refuse_disks(resolved).await?;
        let names = resolved.vsis.iter().map(|vsi| &vsi.desired);
        let names = names.map(|vsi| (vsi.namespace.as_str(), vsi.name.as_str()));
        let lost = self.lost_among(kind::VSI, names).await?;
        for vsi in &resolved.vsis {
            self.refuse_reserved(&vsi.desired).await?;
            let Some(known) = matching(vsi, known) else {
                let vsi = &vsi.desired;
                refuse_lost(&lost, kind::VSI, &vsi.namespace, &vsi.name)?;
                continue;
            };
            known.clone().readable()?;
            if known.phase() == Phase::Deleting || is_deleting(&known.state) {
                return Err(FleetError::going(&vsi.desired.full_name()));
            }
            let merged = retained_refs::kept(vsi, known, &resolved.references);
            let draft = self.draft(&merged, known).await?;
            let refused = draft.plan.refused().next();
            if let Some(change) = refused.filter(|_| known.state.reached > 0) {
                let failure = update_vsi::refused(&draft.wanted, &change.path, &change.why);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
        }
        Ok(())
    }
}

/// The turn of whoever comes after this one.
pub(super) fn turn(known: &Known, continue_on_failure: bool) -> RolloutPredecessor {
    RolloutPredecessor {
        after: known.entity.to_string(),
        name: known.label(),
        continue_on_failure,
    }
}

pub(super) fn matching<'a>(vsi: &ResolvedVsi, known: &'a [Known]) -> Option<&'a Known> {
    known.iter().find(|known| {
        let same = &known.wanted.vsi;
        let named = same.namespace == vsi.desired.namespace && same.name == vsi.desired.name;
        // One that was adopted gets its name with its first document.
        let adopted = known.wanted.unknown.contains("name") && vsi.desired.uid.is_some();
        (named || adopted)
            && vsi.desired.uid.is_none_or(|uid| uid == known.wanted.uid)
            && !known.is_deleted()
    })
}

pub(super) fn is_deleting(state: &EntityState) -> bool {
    let leaving = [delete_vsi::NAME, delete_vsi::FORGET];
    state
        .desired
        .as_ref()
        .is_some_and(|desired| leaving.contains(&desired.workflow.as_str()))
}

impl Applied {
    /// What people are told of the references whose documents are away.
    pub fn told_missing(&self) -> impl Iterator<Item = String> {
        self.retained_refs
            .iter()
            .map(|retained_refs| retained_refs::words(retained_refs))
    }

    pub(super) fn of(vsi: &ResolvedVsi, entity: Option<EntityId>, change: Change) -> Self {
        Self {
            kind: kind::VSI,
            namespace: vsi.desired.namespace.clone(),
            name: vsi.desired.name.clone(),
            entity,
            change,
            fields: Vec::new(),
            plan: Plan::default(),
            awaits_approval: false,
            retained_refs: vsi.retained_refs.clone(),
            contract_put_back: false,
        }
    }

    pub(super) fn of_disk(disk: &DesiredDataDisk, entity: EntityId, change: Change) -> Self {
        Self {
            kind: kind::DISK,
            namespace: disk.namespace.clone(),
            name: disk.name.clone(),
            entity: Some(entity),
            change,
            fields: Vec::new(),
            plan: Plan::default(),
            awaits_approval: false,
            retained_refs: Vec::new(),
            contract_put_back: false,
        }
    }
}
