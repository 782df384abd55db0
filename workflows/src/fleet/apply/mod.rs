//! Applies documents: compares them with the journal and records the changes as desired state.

use vsiflow_engine::executor::{By, Drive};

pub(super) mod applied;
pub(super) mod batch;
mod identity;
pub(super) mod prune;
mod recorded;
mod retained;

pub(super) use self::applied::predecessor;
use self::batch::ApplyBatch;
pub use self::{
    applied::{Applied, Change},
    retained::RetainedTemplates,
};
use super::{
    ErrorKind, Fleet, FleetError,
    index::Known,
    placement::{HostSurvey, PlacedDry, is_no_host},
    store::DesiredUpdates,
    unreadable::refuse_lost,
    vsi::retained_refs,
};
pub(super) use crate::phase::is_deleting;
use crate::{
    orders,
    phase::Phase,
    record::kind,
    spec::{Resolved, ResolvedVsi},
    update_vsi,
};

impl Fleet {
    /// Records the desired state of VSIs and data disks in one batch (all or nothing), and starts to
    /// work on it. VSIs come first in the result. If nothing changed but an entity is blocked, it is
    /// checked again.
    ///
    /// An existing VSI is changed by a plan; if its `updatePolicy` is `Manual`, it stays as it is until
    /// the plan is approved. If one apply interrupts several VSIs, each waits for the previous one.
    ///
    /// # Errors
    /// Before anything is recorded: when a VSI of the name is being deleted, or when a field of a VSI
    /// or data disk cannot be changed.
    pub async fn apply(&self, resolved: Resolved, by: By) -> Result<Vec<Applied>, FleetError> {
        self.engine.takes_updates()?;
        Box::pin(self.refuse_late_problems(&resolved)).await?;
        Box::pin(self.refuse_large_pools(&resolved)).await?;
        let survey = Box::pin(self.survey_for(&resolved, false)).await?;
        if !survey.is_stale {
            return Box::pin(self.apply_on(resolved, survey, by)).await;
        }
        match Box::pin(self.apply_on(resolved.clone(), survey, by.clone())).await {
            Err(error) if is_no_host(&error.failure) => {
                let renewed = Box::pin(self.survey_for(&resolved, true)).await?;
                Box::pin(self.apply_on(resolved, renewed, by)).await
            }
            applied => applied,
        }
    }

    /// The same with hosts chosen by this survey.
    pub(in crate::fleet) async fn apply_on(
        &self,
        mut resolved: Resolved,
        survey: HostSurvey,
        by: By,
    ) -> Result<Vec<Applied>, FleetError> {
        // Checked before secrets and blobs are written, because they need disk space as well.
        self.engine.takes_updates()?;
        self.record_machines().await?;
        let mut updates = DesiredUpdates::default();
        let _turn = self.quota_turn(&resolved).await;
        let _chooses = self.may_choose(&resolved).await;
        let known = self.concerned(&resolved).await?;
        self.fill_recorded(&mut resolved, &known).await?;
        let rooms = survey.networks.clone();
        let placed = self.place(&mut resolved, &known, survey, Some(&mut updates));
        let (members, _offer) = Box::pin(placed).await?;
        self.refuse_all(&resolved, &known).await?;
        Box::pin(self.refuse_networks(&resolved, &members, &rooms)).await?;
        let needs_addresses = resolved
            .vsis
            .iter()
            .any(|vsi| !vsi.desired.made_networks.is_empty());
        // Held until the addresses are recorded, so that none is assigned twice.
        let _drawing = if needs_addresses {
            Some(self.drawing.lock().await)
        } else {
            None
        };
        if needs_addresses {
            Box::pin(self.assign_addresses(&mut resolved)).await?;
        }
        let directory = resolved.directory.clone();
        for host in resolved.hosts.clone().into_values() {
            self.host_update(host, &mut updates).await?;
        }
        let networks = Box::pin(self.draft_networks(&resolved, &mut updates)).await?;
        let made = self.draft_disks(&resolved, &known, &mut updates);
        let (disks, applied) = made.await?;
        let mut batch = ApplyBatch::new(self, known, disks, false);
        batch.updates = updates;
        let pools = self.draft_pools(&resolved, &mut batch.updates, false);
        let pools = Box::pin(pools).await?;
        let groups = self.draft_groups(&resolved, &mut batch.updates, false);
        let groups = Box::pin(groups).await?;
        let types = self.draft_types(&resolved.types, &mut batch.updates);
        let types = types.await?;
        let quotas = self.draft_quotas(&resolved.quotas, &mut batch.updates);
        let quotas = quotas.await?;
        let snapshots = resolved.snapshots.clone();
        let mut all = Box::pin(batch.draft(resolved)).await?;
        all.extend(applied);
        all.extend(networks);
        all.extend(pools);
        all.extend(groups);
        all.extend(types);
        all.extend(quotas);
        Box::pin(self.draft_snapshots(&snapshots, &mut all, &mut batch.updates)).await?;
        let entities: Vec<_> = all.iter().filter_map(|one| one.entity.clone()).collect();
        self.remember(directory.as_ref(), &entities, &mut batch.updates)
            .await?;
        self.record(batch.updates, by.clone()).await?;
        let entities = self.with_disks(entities).await?;
        self.engine.drive(Drive::These(entities.clone())).await?;
        self.recheck(&entities, &by).await?;
        self.work_on_pools(entities);
        Ok(all)
    }

    /// Computes what [`Fleet::apply`] would do, without recording anything.
    ///
    /// # Errors
    /// As for [`Fleet::apply`].
    pub async fn apply_dry(&self, resolved: &Resolved) -> Result<Vec<Applied>, FleetError> {
        self.engine.takes_updates()?;
        Box::pin(self.refuse_late_problems(resolved)).await?;
        Box::pin(self.refuse_large_pools(resolved)).await?;
        let (known, mut resolved) = (self.concerned(resolved).await?, resolved.clone());
        self.fill_recorded(&mut resolved, &known).await?;
        let PlacedDry { members, rooms } = Box::pin(self.place_dry(&mut resolved, &known)).await?;
        self.refuse_all(&resolved, &known).await?;
        Box::pin(self.refuse_networks(&resolved, &members, &rooms)).await?;
        Box::pin(self.plan_placed(&resolved, known)).await
    }

    /// The plan that would bring every VSI to what the documents describe, refused changes included.
    /// Records nothing.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn plan(&self, resolved: &Resolved) -> Result<Vec<Applied>, FleetError> {
        Box::pin(self.refuse_late_problems(resolved)).await?;
        Box::pin(self.refuse_large_pools(resolved)).await?;
        let (known, mut resolved) = (self.concerned(resolved).await?, resolved.clone());
        self.fill_recorded(&mut resolved, &known).await?;
        Box::pin(self.refuse_identities(&resolved, &known)).await?;
        let PlacedDry { members, rooms } = Box::pin(self.place_dry(&mut resolved, &known)).await?;
        Box::pin(self.refuse_networks(&resolved, &members, &rooms)).await?;
        let mut planned = Box::pin(self.plan_placed(&resolved, known)).await?;
        for one in &mut planned {
            let state = one.entity.as_ref().and_then(|it| self.engine.entity(it));
            if state.is_some_and(|state| is_deleting(&state)) {
                one.refuse_because("deletion", "it is being deleted");
            }
        }
        Ok(planned)
    }

    /// Plans everything after hosts are chosen.
    async fn plan_placed(
        &self,
        resolved: &Resolved,
        known: Vec<Known>,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut updates = DesiredUpdates::default();
        let mut addressed = resolved.clone();
        Box::pin(self.assign_addresses(&mut addressed)).await?;
        let addressed = &addressed;
        let networks = Box::pin(self.draft_networks(addressed, &mut updates)).await?;
        let disks = self.draft_disks(addressed, &known, &mut updates);
        let (disks, planned) = disks.await?;
        let mut batch = ApplyBatch::new(self, known, disks, true);
        let mut all = Box::pin(batch.draft(addressed.clone())).await?;
        all.extend(planned);
        all.extend(networks);
        let pools = self.draft_pools(addressed, &mut updates, true);
        all.extend(Box::pin(pools).await?);
        let groups = self.draft_groups(addressed, &mut updates, true);
        all.extend(Box::pin(groups).await?);
        let mut nothing = DesiredUpdates::default();
        Box::pin(self.draft_snapshots(&addressed.snapshots, &mut all, &mut nothing)).await?;
        all.extend(self.draft_types(&addressed.types, &mut updates).await?);
        let quotas = self.draft_quotas(&addressed.quotas, &mut updates);
        all.extend(quotas.await?);
        Ok(all)
    }

    async fn refuse_all(&self, resolved: &Resolved, known: &[Known]) -> Result<(), FleetError> {
        Box::pin(self.refuse_identities(resolved, known)).await?;
        Box::pin(self.refuse_over_quota(resolved)).await?;
        // Boxed because these futures are large, and most documents have no groups or pools.
        Box::pin(self.refuse_groups(resolved)).await?;
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
            let merged = retained_refs::with_retained(vsi, known, &resolved.references);
            let draft = self.draft(&merged, known).await?;
            if let Some(missing) = draft.missing {
                let failure = orders::not_ordered(&draft.record, missing);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
            if let Some(change) = draft.plan.refused().next() {
                let failure = update_vsi::refused(&draft.record, &change.path, &change.why);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
        }
        Ok(())
    }
}

pub(super) fn matching<'a>(vsi: &ResolvedVsi, known: &'a [Known]) -> Option<&'a Known> {
    known.iter().find(|known| {
        let same = &known.record.vsi;
        let named = same.namespace == vsi.desired.namespace && same.name == vsi.desired.name;
        // An adopted VSI gets its name from its first document.
        let adopted = known.record.unknown.contains("name") && vsi.desired.uid.is_some();
        (named || adopted)
            && vsi.desired.uid.is_none_or(|uid| uid == known.record.uid)
            && !known.is_deleted()
    })
}
