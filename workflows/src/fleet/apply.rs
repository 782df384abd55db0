//! Takes in what documents ask for.

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use vsiflow_engine::{
    executor::{By, Drive},
    model::{EntityId, EntityState, Precedence},
};

use super::{
    ErrorKind, Fleet, FleetError, change::Draft, disks::DiskIds, index::Known, keep::Wishes,
    missing,
};
use crate::{
    delete_vsi,
    phase::Phase,
    plan::{Change as FieldChange, Plan},
    provision_vsi,
    spec::{DesiredDataDisk, Resolved, ResolvedVsi, UpdatePolicy},
    update_vsi,
    wanted::{Turn, WantedVsi, kind, vsi_entity},
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
    pub missing: Vec<String>,
}

/// What an apply is about.
struct Batch<'a> {
    known: Vec<Known>,
    disks: DiskIds,
    wishes: Wishes,
    /// The last VSI whose guest is interrupted: the next one waits for its turn.
    before: Option<Turn>,
    dry: bool,
    fleet: &'a Fleet,
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
        let mut wishes = Wishes::default();
        let known = self.known().await?;
        self.refuse_all(&resolved, &known).await?;
        let directory = resolved.directory.clone();
        for host in resolved.hosts.clone().into_values() {
            self.host_wish(host, &mut wishes).await?;
        }
        let made = self.take_in_disks(&resolved, &known, &mut wishes);
        let (disks, applied) = made.await?;
        let mut batch = Batch {
            known,
            disks,
            wishes,
            before: None,
            dry: false,
            fleet: self,
        };
        let mut all = batch.take_in(resolved).await?;
        all.extend(applied);
        let entities: Vec<_> = all.iter().filter_map(|one| one.entity.clone()).collect();
        self.remember(directory.as_ref(), &entities, &mut batch.wishes)
            .await?;
        self.record(batch.wishes, by.clone()).await?;
        let entities = self.with_disks(entities).await?;
        self.engine.drive(Drive::These(entities.clone())).await?;
        self.look_again(&entities, &by).await?;
        Ok(all)
    }

    /// Says what [`Fleet::apply`] would do; records nothing.
    ///
    /// # Errors
    /// As for [`Fleet::apply`].
    pub async fn apply_dry(&self, resolved: &Resolved) -> Result<Vec<Applied>, FleetError> {
        let known = self.known().await?;
        self.refuse_all(resolved, &known).await?;
        self.plan(resolved).await
    }

    /// What it would take to bring every VSI to what documents describe, refused changes
    /// included; records nothing.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn plan(&self, resolved: &Resolved) -> Result<Vec<Applied>, FleetError> {
        let (known, mut wishes) = (self.known().await?, Wishes::default());
        let disks = self.take_in_disks(resolved, &known, &mut wishes);
        let (disks, planned) = disks.await?;
        let mut batch = Batch {
            known,
            disks,
            wishes: Wishes::default(),
            before: None,
            dry: true,
            fleet: self,
        };
        let mut all = batch.take_in(resolved.clone()).await?;
        all.extend(planned);
        Ok(all)
    }

    async fn refuse_all(&self, resolved: &Resolved, known: &[Known]) -> Result<(), FleetError> {
        self.refuse_disks(resolved).await?;
        for vsi in &resolved.vsis {
            let Some(known) = matching(vsi, known) else {
                continue;
            };
            if known.phase() == Phase::Deleting || is_going(&known.state) {
                return Err(FleetError::going(&vsi.desired.full_name()));
            }
            let merged = missing::kept(vsi, known, &resolved.references);
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

impl Batch<'_> {
    async fn take_in(&mut self, resolved: Resolved) -> Result<Vec<Applied>, FleetError> {
        let mut all = Vec::new();
        for vsi in resolved.vsis {
            all.push(match matching(&vsi, &self.known).cloned() {
                None => self.create(vsi).await?,
                Some(known) => {
                    let vsi = missing::kept(&vsi, &known, &resolved.references);
                    self.change(vsi, &known).await?
                }
            });
        }
        Ok(all)
    }

    async fn create(&mut self, vsi: ResolvedVsi) -> Result<Applied, FleetError> {
        let uid = vsi.desired.uid.unwrap_or_else(Uuid::new_v4);
        let mut applied = Applied::of(&vsi, None, Change::Created);
        if self.dry {
            return Ok(applied);
        }
        let entity = vsi_entity(uid).map_err(|error| FleetError::defect(error.to_string()))?;
        applied.entity = Some(entity.clone());
        let wanted = self.fleet.keep(vsi, uid, None, &self.disks).await?;
        let (workflow, precedence) = (provision_vsi::NAME, Precedence::Supersede);
        self.wishes
            .add(entity, workflow, precedence, &wanted, None)?;
        Ok(applied)
    }

    async fn change(&mut self, vsi: ResolvedVsi, known: &Known) -> Result<Applied, FleetError> {
        let draft = self.fleet.draft(&vsi, known).await?;
        let waiting = known.wanted.proposed.is_some();
        let mut applied = Applied::of(&vsi, Some(known.entity.clone()), Change::Configured);
        applied.fields = draft.asked.clone();
        applied.plan = draft.plan.clone();
        if draft.asked.is_empty() {
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
        match applied.awaits_approval {
            true => self.propose(vsi, known).await?,
            false => self.wish(vsi, known, &draft).await?,
        }
        Ok(applied)
    }

    async fn wish(
        &mut self,
        vsi: ResolvedVsi,
        known: &Known,
        draft: &Draft,
    ) -> Result<(), FleetError> {
        let mut wanted = self.merged(vsi, known, draft).await?;
        let was_made = known.state.reached > 0;
        let settled = known.state.is_settled();
        let workflow = match was_made {
            true => update_vsi::NAME,
            false => provision_vsi::NAME,
        };
        let precedence = match settled && !draft.plan.has_effect() {
            true => Precedence::Record,
            false => Precedence::Supersede,
        };
        if was_made && draft.plan.is_disruptive() {
            wanted.turn = self.before.replace(turn(known, false));
        }
        self.retire(known, &mut wanted).await?;
        self.wishes.add(
            known.entity.clone(),
            workflow,
            precedence,
            &wanted,
            known.made_from(),
        )
    }

    /// It stays what it is, and keeps in mind what it is to be.
    async fn propose(&mut self, vsi: ResolvedVsi, known: &Known) -> Result<(), FleetError> {
        let draft = self.fleet.draft(&vsi, known).await?;
        let proposed = self.merged(vsi, known, &draft).await?;
        let mut wanted = WantedVsi {
            power: known.power(),
            before: known.history(),
            proposed: Some(Box::new(proposed)),
            restore: false,
            ..known.wanted.clone()
        };
        self.retire(known, &mut wanted).await?;
        let precedence = match known.state.is_settled() {
            true => Precedence::Record,
            false => Precedence::Queue,
        };
        let entity = known.entity.clone();
        let made_from = known.made_from();
        self.wishes
            .add(entity, update_vsi::NAME, precedence, &wanted, made_from)
    }

    /// What is wanted, with its secrets where secrets are kept.
    async fn merged(
        &self,
        vsi: ResolvedVsi,
        known: &Known,
        draft: &Draft,
    ) -> Result<WantedVsi, FleetError> {
        let missing = vsi.missing.clone();
        let uid = known.wanted.uid;
        let mut kept = self.fleet.keep(vsi, uid, Some(known), &self.disks).await?;
        kept.vsi.uid = draft.wanted.vsi.uid;
        // A disk whose document is away is known from before.
        for (name, disk) in &known.wanted.disks {
            if kept.vsi.disks.iter().any(|wanted| wanted.name == *name) {
                kept.disks.entry(name.clone()).or_insert(*disk);
            }
        }
        Ok(WantedVsi {
            power: draft.wanted.power,
            before: draft.wanted.before.clone(),
            missing,
            ..kept
        })
    }

    /// Secrets that nobody needs any more go at once; those of what the VSI is now made from go
    /// when it is made from something else.
    async fn retire(&mut self, known: &Known, wanted: &mut WantedVsi) -> Result<(), FleetError> {
        wanted.retired.clear();
        let needed = wanted.secrets();
        let mut retired = known.wanted.secrets();
        retired.retain(|secret| !needed.contains(secret));
        let ids = self.fleet.secrets.ids().await?;
        retired.retain(|secret| ids.contains(secret));
        let was_made = known.state.reached > 0;
        let in_use = |secret: &&vsiflow_engine::model::Name| {
            was_made && wanted.before.iter().any(|b| b.contract == **secret)
        };
        let now: Vec<_> = retired.iter().filter(|s| !in_use(s)).cloned().collect();
        self.wishes.retire(&known.entity, &now);
        wanted.retired = retired;
        Ok(())
    }
}

/// The turn of whoever comes after this one.
pub(super) fn turn(known: &Known, whatever_it_comes_to: bool) -> Turn {
    Turn {
        after: known.entity.to_string(),
        name: known.label(),
        whatever_it_comes_to,
    }
}

fn matching<'a>(vsi: &ResolvedVsi, known: &'a [Known]) -> Option<&'a Known> {
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

pub(super) fn is_going(state: &EntityState) -> bool {
    let leaving = [delete_vsi::NAME, delete_vsi::FORGET];
    state
        .desired
        .as_ref()
        .is_some_and(|desired| leaving.contains(&desired.workflow.as_str()))
}

impl Applied {
    fn of(vsi: &ResolvedVsi, entity: Option<EntityId>, change: Change) -> Self {
        Self {
            kind: kind::VSI,
            namespace: vsi.desired.namespace.clone(),
            name: vsi.desired.name.clone(),
            entity,
            change,
            fields: Vec::new(),
            plan: Plan::default(),
            awaits_approval: false,
            missing: vsi.missing.clone(),
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
            missing: Vec::new(),
        }
    }
}
