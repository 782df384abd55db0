//! One apply: what each of its documents comes to, and the updates that it makes.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use uuid::Uuid;
use vsiflow_engine::model::Precedence;

use crate::fleet::{
    Fleet, FleetError,
    apply::{Applied, Change, matching, predecessor},
    disk::apply::DiskIds,
    index::Known,
    store::DesiredUpdates,
    vsi::change::{ChangeDraft, ContractChange},
    vsi::retained_refs,
};
use crate::{
    formats,
    plan::Plan,
    provision_vsi,
    record::{RolloutPredecessor, VsiRecord, vsi_entity},
    spec::{Resolved, ResolvedVsi, UpdatePolicy},
    update_vsi,
};

/// Secrets that are stored at the same time.
const TOGETHER: usize = 16;

/// What an apply is about.
pub(in crate::fleet) struct ApplyBatch<'a> {
    known: Vec<Known>,
    disks: DiskIds,
    pub(in crate::fleet) updates: DesiredUpdates,
    /// The last VSI whose guest is interrupted: the next one waits for its turn.
    before: Option<RolloutPredecessor>,
    dry: bool,
    fleet: &'a Fleet,
}

impl<'a> ApplyBatch<'a> {
    /// One that nothing was taken into. A `dry` one records nothing.
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
            dry,
            fleet,
        }
    }

    /// What became of each VSI's document.
    pub(in crate::fleet) async fn draft(
        &mut self,
        resolved: Resolved,
    ) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        let mut kept = self.new_records(&resolved.vsis).await?.into_iter();
        for vsi in resolved.vsis {
            let kept = kept.next().flatten();
            all.push(match matching(&vsi, &self.known).cloned() {
                None => self.create(vsi, kept).await?,
                Some(known) => {
                    let vsi = retained_refs::with_retained(&vsi, &known, &resolved.references);
                    let vsi = retained_refs::own_disks(vsi, &known, &self.disks);
                    self.change(vsi, &known).await?
                }
            });
        }
        Ok(all)
    }

    /// The desired state of those that are new, with their secrets where secrets are kept: several at a time, because
    /// each takes as long as a disk needs to have it. Nothing in a dry run.
    async fn new_records(
        &self,
        vsis: &[ResolvedVsi],
    ) -> Result<Vec<Option<VsiRecord>>, FleetError> {
        let kept = vsis.iter().map(|vsi| async move {
            if self.dry || matching(vsi, &self.known).is_some() {
                return Ok(None);
            }
            let uid = vsi.desired.uid.unwrap_or_else(Uuid::new_v4);
            let kept = self
                .fleet
                .store_secrets(vsi.clone(), uid, None, &self.disks)
                .await?;
            Ok(Some(kept))
        });
        let kept: Vec<_> = kept.collect();
        stream::iter(kept).buffered(TOGETHER).try_collect().await
    }

    async fn create(
        &mut self,
        vsi: ResolvedVsi,
        kept: Option<VsiRecord>,
    ) -> Result<Applied, FleetError> {
        let mut applied = Applied::of(&vsi, None, Change::Created);
        let Some(mut record) = kept else {
            return Ok(applied);
        };
        let entity = vsi_entity(record.uid);
        let entity = entity.map_err(|error| FleetError::defect(error.to_string()))?;
        applied.entity = Some(entity.clone());
        record.formats = self.fleet.formats_of_others(&record, &self.known).await?;
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
            // Nothing new is asked for; an open proposal still says what it would take.
            if !waiting {
                applied.plan = Plan::default();
            }
            return Ok(applied);
        }
        let was_made = known.state.reached > 0;
        let manual = vsi.desired.update_policy == UpdatePolicy::Manual;
        applied.awaits_approval = was_made && manual && draft.plan.has_effect();
        if self.dry {
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
        let was_made = known.state.reached > 0;
        let settled = known.state.is_settled();
        let workflow = if was_made {
            update_vsi::NAME
        } else {
            provision_vsi::NAME
        };
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
        )
    }

    /// It stays what it is, and keeps in mind what it is to be.
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
        let precedence = if known.state.is_settled() {
            Precedence::Record
        } else {
            Precedence::Queue
        };
        let entity = known.entity.clone();
        let made_from = known.made_from();
        self.updates
            .add(entity, update_vsi::NAME, precedence, &record, made_from)
    }

    /// The desired state, with its secrets where secrets are kept.
    async fn merged(
        &self,
        vsi: ResolvedVsi,
        known: &Known,
        draft: &ChangeDraft,
    ) -> Result<VsiRecord, FleetError> {
        let retained_refs = vsi.retained_refs.clone();
        let uid = known.record.uid;
        let contract = draft.contract.name().cloned();
        let mut kept = self
            .fleet
            .store_secrets(vsi, uid, contract, &self.disks)
            .await?;
        kept.adopted.clone_from(&known.record.adopted);
        kept.vsi.uid = draft.record.vsi.uid;
        // A disk whose document is away is known from before.
        let mut disks = known.record.disks.clone();
        disks.extend(std::mem::take(&mut kept.disks));
        disks.extend(known.own_disks());
        disks.retain(|name, _| kept.vsi.disks.iter().any(|disk| disk.name == *name));
        kept.disks = disks;
        let mut formats = draft.record.formats.clone();
        let others = self.fleet.formats_of_others(&kept, &self.known).await?;
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
            ..kept
        })
    }

    /// Secrets that nobody needs any more go at once; those of what the VSI is now made from go
    /// when it is made from something else.
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
        let was_made = known.state.reached > 0;
        let in_use = |secret: &&vsiflow_engine::model::Name| {
            was_made && record.before.iter().any(|b| b.contract == **secret)
        };
        let now: Vec<_> = retired.iter().filter(|s| !in_use(s)).cloned().collect();
        self.updates.retire(&known.entity, &now);
        record.retired = retired;
        Ok(())
    }
}
