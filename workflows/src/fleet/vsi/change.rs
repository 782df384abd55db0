//! What documents change of a VSI that is known already.

use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;
use vsiflow_engine::{
    model::{Name, RunId},
    secret::SecretError,
    workflow::Situation,
};

use crate::fleet::{Fleet, FleetError, index::Known};
use crate::{
    plan::{self, How, Plan, PlannedChange, Touched},
    record::{Power, PowerAction, PreviousInputs, VsiRecord},
    spec::{DesiredVsi, PowerState, ResolvedVsi},
    vsi_graph,
};

/// What stands for a secret that is not kept yet.
const NEW: &str = "new";

/// So many earlier inputs a desired state carries along.
const HISTORY: usize = 8;

/// What opens the image's URL; the image is the same.
const CREDENTIALS: &str = "imageCredentials";
/// What it was made from is what the first document says.
const ADOPTION: &str = "adoption";
/// What its references gave stays, although their documents are away.
const REFERENCES: &str = "references";

/// A known VSI, and what its documents now ask for.
pub(in crate::fleet) struct ChangeDraft {
    /// As it would be recorded; a secret that is not kept yet is only stood for.
    pub(in crate::fleet) record: VsiRecord,
    /// What differs from what documents asked for last.
    pub(in crate::fleet) changes: Vec<PlannedChange>,
    /// What it takes.
    pub(in crate::fleet) plan: Plan,
    /// Where its contract is kept.
    pub(in crate::fleet) contract: ContractChange,
}

/// Where the contract of a document is kept, if it is.
#[derive(Clone, Debug)]
pub(in crate::fleet) enum ContractChange {
    /// In this secret.
    Kept(Name),
    /// The one that was asked for last is lost, and nobody can tell any more whether it was
    /// another: this one takes its place.
    Lost(Name),
    /// Nowhere yet.
    New,
}

impl ContractChange {
    /// The secret that is to hold it.
    pub(in crate::fleet) fn name(&self) -> Option<&Name> {
        match self {
            Self::Kept(name) | Self::Lost(name) => Some(name),
            Self::New => None,
        }
    }
}

impl Fleet {
    /// What documents now ask of a known VSI; nothing is recorded.
    pub(in crate::fleet) async fn draft(
        &self,
        vsi: &ResolvedVsi,
        known: &Known,
    ) -> Result<ChangeDraft, FleetError> {
        let last = known.last_requested();
        let mut desired = vsi.desired.clone();
        desired.uid = last.vsi.uid;
        desired
            .boot_disk
            .copy_of
            .clone_from(&last.vsi.boot_disk.copy_of);
        let contract = self.contract(vsi, known).await?;
        let powered = desired.power_state != last.vsi.power_state;
        let power = known.power().filter(|_| !powered);
        let restart = restart(&desired, known, power);
        let macs = vsi_graph::macs_of(&known.record, &desired.networks);
        let record = VsiRecord {
            uid: known.record.uid,
            contract: contract.name().cloned().unwrap_or_else(|| Name::of(NEW)),
            image_credentials: last.image_credentials.clone(),
            retired: Vec::new(),
            disks: known.record.disks.clone(),
            vsi: desired,
            power: restart.or(power),
            before: known.history(),
            proposed: None,
            turn: None,
            retained_refs: vsi.retained_refs.clone(),
            unresolved_refs: vsi.unresolved_refs.clone(),
            restore: false,
            rebuilt: known.record.rebuilt,
            macs,
            adopted: known.record.adopted.clone(),
            previous_owner: None,
            unknown: BTreeSet::new(),
            formats: self.formats(known).await?,
            snapshot: known.record.snapshot.clone(),
            placed: vsi.placed.clone().or_else(|| known.record.placed.clone()),
        };
        let mut changes = document_changes(last, &record);
        if !self.same_credentials(vsi, last).await {
            changes.push(recorded(CREDENTIALS));
        }
        if !last.unknown.is_empty() {
            changes.push(recorded(ADOPTION));
        }
        let plan = self.plan_of(&record, known);
        Ok(ChangeDraft {
            record,
            changes,
            plan,
            contract,
        })
    }

    /// What it takes to bring a known VSI there.
    pub(in crate::fleet) fn plan_of(&self, record: &VsiRecord, known: &Known) -> Plan {
        let runs = |run: RunId| self.engine.run(run);
        let at = Situation {
            id: &known.entity,
            entity: &known.state,
            runs: &runs,
        };
        let base = plan::base(record, known.state.reached);
        base.map(|base| plan::of(base, record, &Touched::of(&at)))
            .unwrap_or_default()
    }

    /// Where this very contract is kept. One that is lost must not look like a change.
    async fn contract(
        &self,
        vsi: &ResolvedVsi,
        known: &Known,
    ) -> Result<ContractChange, FleetError> {
        let last = &known.last_requested().contract;
        if vsi.retains_user_data {
            return Ok(ContractChange::Kept(last.clone()));
        }
        match self.secrets.recognise(last, &vsi.contract).await {
            Ok(true) => return Ok(ContractChange::Kept(last.clone())),
            Err(SecretError::Missing(_)) => return Ok(ContractChange::Lost(last.clone())),
            Ok(false) => {}
            Err(error) => return Err(error.into()),
        }
        let earlier = known.record.before.iter().map(|inputs| &inputs.contract);
        // A run that is open may erase what is retired at any moment, whoever names it anew.
        let stays = |name: &&Name| !known.record.retired.contains(name);
        for name in earlier.chain([&known.record.contract]).filter(stays) {
            let same = self.secrets.recognise(name, &vsi.contract).await;
            if same.unwrap_or(false) {
                return Ok(ContractChange::Kept(name.clone()));
            }
        }
        Ok(ContractChange::New)
    }

    async fn same_credentials(&self, vsi: &ResolvedVsi, last: &VsiRecord) -> bool {
        match (&last.image_credentials, &vsi.image_url) {
            (None, None) => true,
            (Some(name), Some(url)) => {
                let same = self.secrets.recognise(name, url).await;
                same.unwrap_or(false)
            }
            _ => false,
        }
    }
}

/// The restart that a document asks for; none where it asked for it before, where nobody knows
/// whether it did, or where no guest is to run.
fn restart(desired: &DesiredVsi, known: &Known, power: Option<Power>) -> Option<Power> {
    let last = known.last_requested();
    let new = desired.restarted_at.is_some() && desired.restarted_at != last.vsi.restarted_at;
    let state = power.map_or(desired.power_state, |power| power.state);
    let runs = state == PowerState::Running && known.state.reached > 0;
    (new && runs && last.unknown.is_empty()).then_some(Power {
        state,
        action: Some(PowerAction::Restart),
        grace_s: vsi_graph::GRACE_S,
        drained: power.and_then(|power| power.drained),
    })
}

impl Known {
    /// What documents asked for last, approved or not.
    pub(in crate::fleet) fn last_requested(&self) -> &VsiRecord {
        self.record.proposed.as_deref().unwrap_or(&self.record)
    }

    fn generation(&self) -> u64 {
        let desired = self.state.desired.as_ref();
        desired.map_or(0, |desired| desired.generation)
    }

    /// What the next desired state is made from, as the engine holds it against what is newest then.
    pub(in crate::fleet) fn made_from(&self) -> Option<u64> {
        Some(self.generation())
    }

    /// The inputs that it is now made from, and those of desired states after it that are not reached yet:
    /// which of them are by the time the next desired state is worked on, only that time can tell.
    pub(in crate::fleet) fn history(&self) -> Vec<PreviousInputs> {
        let settled = self.state.is_settled();
        let newest = self.record.inputs(self.generation(), settled);
        if settled {
            return vec![newest];
        }
        let base = plan::base(&self.record, self.state.reached).map(|base| base.generation);
        let open = |inputs: &&PreviousInputs| base.is_none_or(|base| inputs.generation >= base);
        let mut history: Vec<_> = self.record.before.iter().filter(open).cloned().collect();
        history.push(newest);
        while history.len() > HISTORY {
            // Not the first: that is what it is made from as far as anybody knows.
            history.remove(1);
        }
        history
    }

    /// The data disks of what it is now made from, by name: which ones these are never changes
    /// under it.
    pub(in crate::fleet) fn own_disks(&self) -> BTreeMap<String, Uuid> {
        let base = plan::base(&self.record, self.state.reached).map(|base| &base.vsi);
        let made = if self.state.is_settled() {
            Some(&self.record.vsi)
        } else {
            base
        };
        let names = made.into_iter().flat_map(|vsi| &vsi.disks);
        let own = names.filter_map(|disk| {
            let uid = self.record.disks.get(&disk.name)?;
            Some((disk.name.clone(), *uid))
        });
        own.collect()
    }

    /// What its power commands asked for; what they did is not done again.
    pub(in crate::fleet) fn power(&self) -> Option<Power> {
        let settled = self.state.is_settled();
        self.record.power.map(|power| Power {
            action: power.action.filter(|_| !settled),
            ..power
        })
    }
}

fn document_changes(last: &VsiRecord, record: &VsiRecord) -> Vec<PlannedChange> {
    let mut last_inputs = last.inputs(0, true);
    // Here documents are compared with documents alone.
    last_inputs.power = last.vsi.power_state;
    let document = VsiRecord {
        power: None,
        snapshot: None,
        ..record.clone()
    };
    let mut changes = plan::of(&last_inputs, &document, &Touched::default()).changes;
    if (&last.retained_refs, &last.unresolved_refs)
        != (&record.retained_refs, &record.unresolved_refs)
    {
        changes.push(recorded(REFERENCES));
    }
    changes
}

fn recorded(path: &str) -> PlannedChange {
    PlannedChange {
        path: path.to_owned(),
        before: None,
        after: None,
        how: How::Recorded,
        why: "the VSI itself stays as it is".to_owned(),
    }
}
