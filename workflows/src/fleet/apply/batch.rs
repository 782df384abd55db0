//! One apply: works out the change of each VSI document and collects the updates to record.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;
use vsiflow_engine::model::Precedence;

use crate::fleet::{
    Fleet, FleetError,
    apply::applied::{Applied, Change, predecessor},
    apply::matching,
    disk::known::DiskIds,
    index::Known,
    store::DesiredUpdates,
    vsi::change::{ChangeDraft, ContractChange},
    vsi::retained_refs,
};
use crate::{
    boot_disks, formats, macs, orders,
    plan::Plan,
    provision_vsi,
    record::{RolloutPredecessor, VsiRecord, vsi_entity},
    spec::{Resolved, ResolvedVsi, UpdatePolicy},
    update_vsi,
};

/// How many VSIs have their secrets stored at the same time.
const PARALLEL: usize = 16;

/// State of one apply.
pub(in crate::fleet) struct ApplyBatch<'a> {
    known: Vec<Known>,
    disks: DiskIds,
    pub(in crate::fleet) updates: DesiredUpdates,
    /// The last VSI so far whose guest is interrupted; the next one waits for it.
    before: Option<RolloutPredecessor>,
    /// The MAC addresses of the VSIs that this apply makes.
    macs: BTreeSet<String>,
    dry: bool,
    fleet: &'a Fleet,
}

impl<'a> ApplyBatch<'a> {
    /// An empty batch. A `dry` one records nothing.
    pub(in crate::fleet) fn new(
        fleet: &'a Fleet,
        known: Vec<Known>,
        disks: DiskIds,
        dry: bool,
    ) -> Self {
        Self {
            known,
            disks,
            updates: DesiredUpdates::default(),
            before: None,
            macs: BTreeSet::new(),
            dry,
            fleet,
        }
    }

    /// Works out the change of each VSI document.
    pub(in crate::fleet) async fn draft(
        &mut self,
        resolved: Resolved,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        let mut stored = self.new_records(&resolved.vsis).await?.into_iter();
        for vsi in resolved.vsis {
            let stored = stored.next().flatten();
            all.push(match matching(&vsi, &self.known).cloned() {
                None => self.create(vsi, stored).await?,
                Some(known) => {
                    let vsi = retained_refs::with_retained(&vsi, &known, &resolved.references);
                    let vsi = retained_refs::own_disks(vsi, &known, &self.disks);
                    Box::pin(self.change(vsi, &known)).await?
                }
            });
        }
        Ok(all)
    }

    /// The desired state of new VSIs, with their secrets stored. Several at a time, because each waits
    /// for the disk to make it durable. Nothing in a dry run.
    async fn new_records(
        &self,
        vsis: &[ResolvedVsi],
    ) -> Result<Vec<Option<VsiRecord>>, FleetError> {
        let stored = vsis.iter().map(|vsi| async move {
            if self.dry || matching(vsi, &self.known).is_some() {
                return Ok(None);
            }
            let uid = vsi.desired.uid.unwrap_or_else(Uuid::new_v4);
            let stored = self
                .fleet
                .store_secrets(vsi.clone(), uid, None, &self.disks)
                .await?;
            Ok(Some(stored))
        });
        let stored: Vec<_> = stored.collect();
        stream::iter(stored).buffered(PARALLEL).try_collect().await
    }

    async fn create(
        &mut self,
        vsi: ResolvedVsi,
        stored: Option<VsiRecord>,
    ) -> Result<Applied, FleetError> {
        let mut applied = Applied::of(&vsi, None, Change::Created);
        let Some(mut record) = stored else {
            return Ok(applied);
        };
        let entity = vsi_entity(record.uid);
        let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
        applied.entity = Some(entity.clone());
        record.formats = self.fleet.formats_of_others(&record, &self.known).await?;
        let taken = self.macs.clone();
        let free = self.fleet.macs_of_new_cards(&record, Vec::new(), taken);
        record.macs = free.await?;
        self.macs.extend(macs::drawn(&record));
        let (workflow, precedence) = (provision_vsi::NAME, Precedence::Supersede);
        self.updates
            .add(entity, workflow, precedence, &record, None)?;
        Ok(applied)
    }

    async fn change(&mut self, vsi: ResolvedVsi, known: &Known) -> Result<Applied, FleetError> {
        let mut applied = Applied::of(&vsi, Some(known.entity.clone()), Change::Configured);
        let draft = self.fleet.draft(&vsi, known).await?;
        if let (ContractChange::Lost(name), false) = (&draft.contract, self.dry) {
            let contract = vsi.contract.clone();
            self.fleet.secrets.put_back(name, contract).await?;
            applied.contract_put_back = true;
        }
        let waiting = known.record.proposed.is_some();
        applied.fields = draft.changes.clone();
        applied.plan = draft.plan.clone();
        if draft.changes.is_empty() {
            applied.change = Change::Unchanged;
            applied.awaits_approval = waiting;
            // Nothing changed; an open proposal still shows its plan.
            if !waiting {
                applied.plan = outstanding(known, &draft);
            }
            return Ok(applied);
        }
        let was_made = boot_disks::was_made(&known.state);
        let manual = vsi.desired.update_policy == UpdatePolicy::Manual;
        applied.awaits_approval = was_made && manual && draft.plan.has_effect();
        if self.dry {
            let needs = self.fleet.needed_room(&draft.record, &draft.plan);
            applied.needs = Box::pin(needs).await;
            return Ok(applied);
        }
        if applied.awaits_approval {
            self.propose(vsi, known, &draft).await?
        } else {
            self.update(vsi, known, &draft).await?
        }
        Ok(applied)
    }

    async fn update(
        &mut self,
        vsi: ResolvedVsi,
        known: &Known,
        draft: &ChangeDraft,
    ) -> Result<(), FleetError> {
        let mut record = self.merged(vsi, known, draft).await?;
        let was_made = boot_disks::was_made(&known.state);
        let settled = known.state.is_settled();
        let workflow = known.workflow_of_changes();
        let precedence = if settled && !draft.plan.has_effect() {
            Precedence::Record
        } else {
            Precedence::Supersede
        };
        if was_made && draft.plan.is_disruptive() {
            record.turn = self.before.replace(predecessor(known, false));
        }
        self.retire(known, &mut record).await?;
        self.updates.add(
            known.entity.clone(),
            workflow,
            precedence,
            &record,
            known.made_from(),
        )?;
        let ordered = orders::of_edit(&record, &draft.plan, &draft.changes, &known.state);
        self.updates.order(ordered);
        Ok(())
    }

    /// Keeps the VSI as it is and records the new desired state as a proposal.
    async fn propose(
        &mut self,
        vsi: ResolvedVsi,
        known: &Known,
        draft: &ChangeDraft,
    ) -> Result<(), FleetError> {
        let proposed = self.merged(vsi, known, draft).await?;
        let mut record = VsiRecord {
            power: known.power(),
            before: known.history(),
            formats: proposed.formats.clone(),
            proposed: Some(Box::new(proposed)),
            restore: false,
            ..VsiRecord::clone(&known.record)
        };
        self.retire(known, &mut record).await?;
        // The newest document does not ask for what an earlier one ordered, and whoever approves it orders anew. What a
        // run has begun with the guest is finished: in the middle, the guest may be off.
        let gives_up = orders::is_update_ordered(&known.state) && !self.fleet.works_on_guest(known);
        let precedence = if known.state.is_settled() {
            Precedence::Record
        } else if gives_up {
            Precedence::Supersede
        } else {
            Precedence::Queue
        };
        let entity = known.entity.clone();
        let made_from = known.made_from();
        self.updates
            .add(entity, update_vsi::NAME, precedence, &record, made_from)?;
        if gives_up {
            self.updates.void(orders::UPDATE);
        }
        Ok(())
    }

    /// The new desired state, with its secrets stored.
    async fn merged(
        &self,
        vsi: ResolvedVsi,
        known: &Known,
        draft: &ChangeDraft,
    ) -> Result<VsiRecord, FleetError> {
        let retained_refs = vsi.retained_refs.clone();
        let uid = known.record.uid;
        let contract = draft.contract.name().cloned();
        let mut stored = self
            .fleet
            .store_secrets(vsi, uid, contract, &self.disks)
            .await?;
        stored.adopted.clone_from(&known.record.adopted);
        stored.vsi.uid = draft.record.vsi.uid;
        // A disk without a document is copied from the previous record.
        let mut disks = known.record.disks.clone();
        disks.extend(std::mem::take(&mut stored.disks));
        disks.extend(known.own_disks());
        disks.retain(|name, _| stored.vsi.disks.iter().any(|disk| disk.name == *name));
        stored.disks = disks;
        let mut formats = draft.record.formats.clone();
        let others = self.fleet.formats_of_others(&stored, &self.known).await?;
        formats::add(&mut formats, others);
        Ok(VsiRecord {
            formats,
            macs: draft.record.macs.clone(),
            rebuilt: draft.record.rebuilt,
            snapshot: draft.record.snapshot.clone(),
            power: draft.record.power,
            before: draft.record.before.clone(),
            retained_refs,
            placed: draft.record.placed.clone(),
            ..stored
        })
    }

    /// Immediately erases secrets that are no longer needed. Secrets that the VSI is now made from are
    /// erased once it is made from something else.
    async fn retire(&mut self, known: &Known, record: &mut VsiRecord) -> Result<(), FleetError> {
        record.retired.clear();
        let needed = record.secrets();
        let mut retired = known.record.secrets();
        retired.retain(|secret| !needed.contains(secret));
        for secret in std::mem::take(&mut retired) {
            if self.fleet.secrets.has(&secret).await? {
                retired.push(secret);
            }
        }
        let was_made = boot_disks::was_made(&known.state);
        let in_use = |secret: &&vsiflow_engine::model::Name| {
            was_made && record.before.iter().any(|b| b.contract == **secret)
        };
        let now: Vec<_> = retired.iter().filter(|s| !in_use(s)).cloned().collect();
        self.updates.retire(&known.entity, &now);
        record.retired = retired;
        Ok(())
    }
}

/// What a VSI whose document is unchanged is not brought to yet, where that destroys something or is refused.
fn outstanding(known: &Known, draft: &ChangeDraft) -> Plan {
    let mut plan = draft.plan.clone();
    if known.state.is_settled() || !boot_disks::was_made(&known.state) {
        return Plan::default();
    }
    let missing = orders::missing(&draft.record, &plan, &known.state);
    if missing.is_none() && plan.destroys.is_empty() {
        return Plan::default();
    }
    let refused = missing.map(|missing| missing.refused_change(&draft.record));
    plan.changes.extend(refused);
    plan
}
