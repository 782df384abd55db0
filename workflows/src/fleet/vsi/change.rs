//! Compares documents with a known VSI: drafts the new record, the changes and the plan.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use uuid::Uuid;
use vsiflow_engine::{
    model::{Name, RunId},
    secret::SecretError,
    workflow::{DestructionOrder, Situation},
};

use crate::fleet::{Fleet, FleetError, index::Known};
use crate::{
    boot_disks, macs, one_host,
    orders::{self, NeededOrder},
    plan::{self, How, Plan, PlannedChange, Touched},
    record::{Power, PowerAction, PreviousInputs, VsiRecord},
    spec::{DesiredVsi, PowerState, ResolvedVsi, UpdatePolicy},
    vsi_graph,
};

/// A placeholder for a secret that is not stored yet.
const PLACEHOLDER: &str = "new";

/// How many earlier inputs a desired state contains at most.
const MAX_HISTORY: usize = 8;

/// The change of the image URL's credentials; the image is the same.
const CREDENTIALS: &str = "imageCredentials";
/// The first document after an adoption says what the VSI was made from.
const ADOPTION: &str = "adoption";
/// The VSI retains what its references chose, although they have no document now.
const REFERENCES: &str = "references";

/// The change of a known VSI that its documents ask for.
pub(in crate::fleet) struct ChangeDraft {
    /// The record to be stored. A secret that is not stored yet has a placeholder.
    pub(in crate::fleet) record: VsiRecord,
    /// The differences from what documents last requested.
    pub(in crate::fleet) changes: Vec<PlannedChange>,
    /// The plan of the change.
    pub(in crate::fleet) plan: Plan,
    /// The order without which it is refused.
    pub(in crate::fleet) missing: Option<NeededOrder>,
    /// Where its contract is stored.
    pub(in crate::fleet) contract: ContractChange,
}

/// Where the contract of a document is stored, if it is.
#[derive(Clone, Debug)]
pub(in crate::fleet) enum ContractChange {
    /// In this secret.
    Kept(Name),
    /// The last requested contract is lost, so whether this one differs is unknown. This one takes over its
    /// name.
    Lost(Name),
    /// It is not stored yet.
    New,
}

impl ContractChange {
    /// The secret that is to hold the contract.
    pub(in crate::fleet) fn name(&self) -> Option<&Name> {
        match self {
            Self::Kept(name) | Self::Lost(name) => Some(name),
            Self::New => None,
        }
    }
}

impl Fleet {
    /// Drafts the change of a known VSI that its documents ask for. Records nothing.
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
        let mut record = VsiRecord {
            uid: known.record.uid,
            contract: contract
                .name()
                .cloned()
                .unwrap_or_else(|| Name::of(PLACEHOLDER)),
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
            released: Vec::new(),
        };
        let had = macs::drawn(&known.record);
        let free = self.macs_of_new_cards(&record, had, BTreeSet::new());
        record.macs = free.await?;
        let mut changes = document_changes(last, &record);
        if !self.same_credentials(vsi, last).await {
            changes.push(recorded(CREDENTIALS));
        }
        if !last.unknown.is_empty() {
            changes.push(recorded(ADOPTION));
        }
        let mut plan = self.plan_of(&record, known);
        plan.changes.extend(refused_moves(known, &record));
        let missing = self.missing_order(&record, &plan, &changes, known);
        plan.changes
            .extend(missing.map(|missing| missing.refused_change(&record)));
        Ok(ChangeDraft {
            record,
            changes,
            plan,
            missing,
            contract,
        })
    }

    /// The order that an edit lacks. An edit that waits for approval needs none, but the VSI is then brought to
    /// what was recorded before.
    fn missing_order(
        &self,
        record: &VsiRecord,
        plan: &Plan,
        changes: &[PlannedChange],
        known: &Known,
    ) -> Option<NeededOrder> {
        let state = &known.state;
        let is_only_recorded = state.is_settled() && !plan.has_effect();
        if changes.is_empty() || !boot_disks::was_made(state) || is_only_recorded {
            return None;
        }
        if record.vsi.update_policy == UpdatePolicy::Manual && plan.has_effect() {
            let held = &known.record;
            if state.is_settled() {
                return None;
            }
            return orders::missing(held, &self.plan_of(held, known), state);
        }
        let ordered = orders::of_edit(record, plan, changes, state);
        orders::missing(record, plan, &state.with_orders(&ordered))
    }

    /// The MAC addresses to record for a VSI that had some cards before: those of new cards are not those of
    /// others, and are not in `taken`.
    pub(in crate::fleet) async fn macs_of_new_cards(
        &self,
        record: &VsiRecord,
        had: Vec<String>,
        mut taken: BTreeSet<String>,
    ) -> Result<Vec<String>, FleetError> {
        let (mut record, mut checked) = (record.clone(), had);
        loop {
            let mut new = macs::drawn(&record);
            new.retain(|mac| !checked.contains(mac));
            if new.is_empty() {
                return Ok(record.macs);
            }
            taken.extend(self.macs_of_others(record.uid, &new).await?);
            // What takes the place of one that is taken may be another VSI's, too.
            record.macs = macs::avoiding(&record, &taken);
            checked.extend(new);
        }
    }

    /// The plan that brings a known VSI to this record.
    pub(in crate::fleet) fn plan_of(&self, record: &VsiRecord, known: &Known) -> Plan {
        let runs = |run: RunId| self.engine.run(run);
        let at = Situation {
            id: &known.entity,
            entity: &known.state,
            runs: &runs,
        };
        let base = plan::base(record, &known.state);
        base.map(|base| plan::of(&base, record, &Touched::of(&at)))
            .unwrap_or_default()
    }

    /// Whether the open run of a known VSI began to work on its guest.
    pub(in crate::fleet) fn works_on_guest(&self, known: &Known) -> bool {
        let active = known.state.active.as_ref();
        active.is_some_and(|active| {
            let run = self.engine.run(active.run);
            run.is_none_or(|run| Touched::by(&run).guest())
        })
    }

    /// The plan of a rebuild that is about to be ordered.
    pub(in crate::fleet) fn plan_of_rebuild(&self, record: &VsiRecord, known: &Known) -> Plan {
        let (objects, plan) = (&known.state.objects, Plan::default());
        let ordered = orders::for_boot_disks(record, objects, orders::REBUILD, &plan);
        self.plan_of(record, &known.with_orders(&ordered))
    }

    /// Where exactly this contract is stored. A lost contract must not look like a change.
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
        // An open run may erase a retired secret at any moment, even if a record refers to it again.
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

/// The restart that a document newly requests. `None` if it requested the same one before, if that is
/// unknown, or if the guest is not to run.
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

/// The refused changes of a VSI that was never ready, and of which something may be on its host. Its other
/// fields may change: it is made again there.
fn refused_moves(known: &Known, record: &VsiRecord) -> Vec<PlannedChange> {
    let (before, now) = (&known.record.vsi, &record.vsi);
    let stays = known.state.reached == 0 && one_host::may_have_parts(&known.state);
    let fields = [
        ("host", &before.host, &now.host),
        ("pool", &before.pool, &now.pool),
    ];
    let moves = fields
        .into_iter()
        .filter(|(_, from, to)| stays && from != to);
    let refused = moves.map(|(path, from, to)| PlannedChange {
        path: path.to_owned(),
        before: Some(from.as_str().into()),
        after: Some(to.as_str().into()),
        how: How::Refused,
        why: one_host::WHY.to_owned(),
    });
    refused.collect()
}

impl Known {
    /// The VSI as it is once these orders are recorded.
    pub(in crate::fleet) fn with_orders(&self, orders: &[DestructionOrder]) -> Self {
        let mut ordered = self.clone();
        ordered.state = Arc::new(self.state.with_orders(orders));
        ordered
    }

    /// What documents last requested, approved or not.
    pub(in crate::fleet) fn last_requested(&self) -> &VsiRecord {
        self.record.proposed.as_deref().unwrap_or(&self.record)
    }

    fn generation(&self) -> u64 {
        let desired = self.state.desired.as_ref();
        desired.map_or(0, |desired| desired.generation)
    }

    /// The generation that the next desired state is based on. The engine compares it with the newest one.
    pub(in crate::fleet) fn made_from(&self) -> Option<u64> {
        Some(self.generation())
    }

    /// The inputs that the VSI is made from now, and those of later desired states that are not reached
    /// yet. Which of them apply is only known when the next desired state is worked on.
    pub(in crate::fleet) fn history(&self) -> Vec<PreviousInputs> {
        let settled = self.state.is_settled();
        let newest = self.record.inputs(self.generation(), settled);
        if settled {
            return vec![newest];
        }
        let base = plan::base(&self.record, &self.state).map(|base| base.generation);
        let open = |inputs: &&PreviousInputs| base.is_none_or(|base| inputs.generation >= base);
        let mut history: Vec<_> = self.record.before.iter().filter(open).cloned().collect();
        history.push(newest);
        while history.len() > MAX_HISTORY {
            // Not the first: as far as is known, the VSI is made from it.
            history.remove(1);
        }
        history
    }

    /// The UIDs of the data disks that the VSI is made from now, by name. They never change while it has
    /// them.
    pub(in crate::fleet) fn own_disks(&self) -> BTreeMap<String, Uuid> {
        let base = plan::base(&self.record, &self.state);
        let made = if self.state.is_settled() {
            Some(&self.record.vsi)
        } else {
            base.as_deref().map(|base| &base.vsi)
        };
        let names = made.into_iter().flat_map(|vsi| &vsi.disks);
        let own = names.filter_map(|disk| {
            let uid = self.record.disks.get(&disk.name)?;
            Some((disk.name.clone(), *uid))
        });
        own.collect()
    }

    /// The power that commands requested, without an action that is already done.
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
    // Only documents are compared here.
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
