//! Lets changes go on that wait for somebody's word.

use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Precedence},
};

use super::{
    ErrorKind, Fleet, FleetError,
    apply::{is_going, turn},
    index::Known,
    keep::Wishes,
};
use crate::{plan::Plan, update_vsi, wanted::WantedVsi};

impl Fleet {
    /// Approves the change that each of these VSIs waits with, all of them or none, and begins to
    /// work on it. Of several that are interrupted each waits for the one before it.
    ///
    /// # Errors
    /// When there is none of a name, or one waits for no approval.
    pub async fn approve(
        &self,
        namespace: &str,
        names: &[String],
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        let (mut wishes, mut before, mut entities) = (Wishes::default(), None, Vec::new());
        for name in names {
            let known = self.find(namespace, name, false).await?;
            if is_going(&known.state) {
                return Err(FleetError::going(&known.wanted.vsi.full_name()));
            }
            let mut wanted = approved(&known)?;
            let plan = self.plan_of(&wanted, &known);
            if let Some(change) = plan.refused().next() {
                let failure = update_vsi::refused(&wanted, &change.path, &change.why);
                return Err(FleetError::new(ErrorKind::Blocked, failure));
            }
            if plan.is_disruptive() {
                wanted.turn = before.replace(turn(&known, false));
            }
            let (entity, made_from) = (known.entity.clone(), known.made_from());
            let precedence = Precedence::Supersede;
            wishes.add(entity, update_vsi::NAME, precedence, &wanted, made_from)?;
            entities.push(known.entity);
        }
        self.record(wishes, by).await?;
        Ok(entities)
    }

    /// What waits for approval, and what it takes; none where nothing does.
    pub(super) fn proposal(&self, known: &Known) -> Option<Plan> {
        let wanted = approved(known).ok()?;
        Some(self.plan_of(&wanted, known))
    }

    /// Whether a change of this VSI waits for approval.
    ///
    /// # Errors
    /// When the journal cannot be read.
    pub async fn awaits_approval(&self, entity: &EntityId) -> Result<bool, FleetError> {
        let Some(state) = self.engine.entity(entity) else {
            return Ok(false);
        };
        let wanted = self.wanted::<WantedVsi>(&state).await?;
        Ok(wanted.is_some_and(|wanted| wanted.proposed.is_some()))
    }
}

/// What is wanted once the proposal is approved.
fn approved(known: &Known) -> Result<WantedVsi, FleetError> {
    let Some(proposed) = &known.wanted.proposed else {
        let message = "no change of it waits for approval";
        let failure = Failure::new(FailureClass::Blocked, "VSI0704", message)
            .of_object(format!("vsi/{}", known.wanted.vsi.full_name()))
            .with_remedy(
                "apply a document that changes it; `vsiflow plan -f FILE` says what it would do",
            );
        return Err(FleetError::new(ErrorKind::Blocked, failure));
    };
    let needed = proposed.secrets();
    let mut retired = known.wanted.secrets();
    retired.retain(|secret| !needed.contains(secret));
    // A power command that came after the proposal still counts.
    let powered = proposed.vsi.power_state != known.wanted.vsi.power_state;
    Ok(WantedVsi {
        retired,
        power: known.power().filter(|_| !powered),
        before: known.history(),
        ..(**proposed).clone()
    })
}
