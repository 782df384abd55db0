//! Approves changes of VSIs that wait for a person's approval.

use schemars::JsonSchema;
use serde::Serialize;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Hash, Precedence},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, VsiHandle,
    apply::{is_deleting, predecessor},
    index::Known,
    store::DesiredUpdates,
};
use crate::{
    formats, orders,
    plan::Plan,
    record::{Power, VsiRecord},
    spec::PowerState,
    update_vsi,
};

/// Hexadecimal digits of a proposal's id.
const DIGITS: usize = 16;

/// A change that waits for somebody's word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Proposal {
    /// Names this change and no other: what is proposed anew has another.
    pub id: String,
    /// What it takes.
    #[serde(flatten)]
    pub plan: Plan,
}

impl VsiHandle<'_> {
    /// Approves the waiting change of each of these VSIs, all of them or none, and begins to work on them.
    /// If several changes interrupt their VSI, each VSI waits for the previous one.
    ///
    /// # Errors
    /// When there is no VSI of one of the names, or no change of it waits for approval.
    pub async fn approve(
        self,
        namespace: &str,
        names: &[String],
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let mut all = Vec::new();
        for name in names {
            all.push(self.fleet.find(namespace, name, false).await?);
        }
        self.fleet.approve_all(all, by).await
    }

    /// Approves exactly the change with this id: a later change that replaced it needs its own approval.
    /// Returns whether the change with this id was the waiting one.
    ///
    /// # Errors
    /// As for [`VsiHandle::approve`].
    pub async fn approve_this(
        self,
        namespace: &str,
        name: &str,
        id: &str,
        by: By,
    ) -> Result<bool, FleetError> {
        let known = self.fleet.find(namespace, name, false).await?;
        match self.fleet.proposal(&known) {
            Some(proposal) if proposal.id == id => {
                self.fleet.approve_all(vec![known], by).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Whether a change of this VSI waits for approval.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn awaits_approval(self, entity: &EntityId) -> Result<bool, FleetError> {
        let Some(state) = self.fleet.engine.entity(entity) else {
            return Ok(false);
        };
        let record = self.fleet.read_record::<VsiRecord>(&state).await?;
        Ok(record.is_some_and(|record| record.proposed.is_some()))
    }
}

impl Fleet {
    async fn approve_all(&self, all: Vec<Known>, by: By) -> Result<Vec<EntityId>, FleetError> {
        let (mut updates, mut before, mut entities) = (DesiredUpdates::default(), None, Vec::new());
        for known in all {
            if is_deleting(&known.state) {
                return Err(FleetError::going(&known.record.vsi.full_name()));
            }
            let mut record = approved(&known)?;
            formats::add(&mut record.formats, self.formats(&known).await?);
            let plan = self.plan_of(&record, &known);
            if let Some(change) = plan.refused().next() {
                let failure = update_vsi::refused(&record, &change.path, &change.why);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
            if plan.is_disruptive() {
                record.turn = before.replace(predecessor(&known, false));
            }
            let (entity, made_from) = (known.entity.clone(), known.made_from());
            let precedence = Precedence::Supersede;
            updates.add(entity, update_vsi::NAME, precedence, &record, made_from)?;
            updates.order(orders::of_change(&record, &plan, &known.state));
            entities.push(known.entity);
        }
        self.record(updates, by).await?;
        Ok(entities)
    }

    /// The change that waits for approval and its plan; `None` if there is none.
    pub(in crate::fleet) fn proposal(&self, known: &Known) -> Option<Proposal> {
        let record = approved(known).ok()?;
        let plan = self.plan_of(&record, known);
        let id = id(known, &record, &plan);
        Some(Proposal { id, plan })
    }
}

/// The id of a change: a hash of the change and of the state that it was proposed for. It reveals no
/// secret, because only the random ids of secrets are hashed.
fn id(known: &Known, record: &VsiRecord, plan: &Plan) -> String {
    let generation = known.state.desired.as_ref().map(|made| made.generation);
    let secrets = (&record.contract, &record.image_credentials);
    let all = (known.entity.id(), generation, secrets, &record.vsi, plan);
    let bytes = serde_json::to_vec(&all).unwrap_or_default();
    Hash::of(&bytes).to_string().chars().take(DIGITS).collect()
}

/// The desired state after the approval of the proposal.
fn approved(known: &Known) -> Result<VsiRecord, FleetError> {
    let Some(proposed) = &known.record.proposed else {
        let message = "no change of it waits for approval";
        let failure = Failure::new(FailureClass::Blocked, "VSI0704", message)
            .of_object(format!("vsi/{}", known.record.vsi.full_name()))
            .with_remedy(
                "apply a document that changes it; `vsiflow plan -f FILE` says what it would do",
            );
        return Err(FleetError::new(ErrorKind::Blocked, failure));
    };
    let needed = proposed.secrets();
    let mut retired = known.record.secrets();
    retired.retain(|secret| !needed.contains(secret));
    // A power command that came after the proposal still counts.
    let powered = proposed.vsi.power_state != known.record.vsi.power_state;
    let restart = proposed.power.filter(|power| power.action.is_some());
    let power = known.power().filter(|_| !powered);
    let is_running = |requested: &Power| requested.state == PowerState::Running;
    Ok(VsiRecord {
        retired,
        power: match power {
            Some(later) if !is_running(&later) => Some(later),
            earlier => restart.or(earlier),
        },
        before: known.history(),
        rebuilt: known.record.rebuilt,
        snapshot: known.record.snapshot.clone(),
        ..(**proposed).clone()
    })
}
