//! Power commands of VSIs: start, stop, restart, pause, unpause.

use std::sync::Arc;

use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Precedence},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, Verdict, VsiHandle, apply::is_deleting, index::Known,
    store::DesiredUpdates,
};
use crate::{
    boot_disks, orders,
    record::{Power, PowerAction, RolloutPredecessor, VsiRecord},
    spec::PowerState,
    vsi_graph,
};

/// How a guest is shut down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownPolicy {
    /// How many seconds the guest has for an orderly shutdown before it is turned off.
    pub timeout_s: Option<u64>,
    /// Turn the guest off immediately, without waiting for a run in progress.
    pub force: bool,
}

impl ShutdownPolicy {
    pub(in crate::fleet) fn grace_s(self) -> u64 {
        if self.force {
            0
        } else {
            self.timeout_s.unwrap_or(vsi_graph::GRACE_S)
        }
    }
}

impl VsiHandle<'_> {
    /// Records a power command and begins the work. It waits until a run in progress ends; of several
    /// commands the last one counts. A forced command supersedes the run, and so does a command that would
    /// wait for a run that does not continue automatically.
    ///
    /// # Errors
    /// When there is no such VSI, when it is being deleted, when it is off and is to be paused, or when a replacement
    /// of its disks is ordered and stuck.
    pub async fn power(
        self,
        namespace: &str,
        name: &str,
        action: PowerAction,
        how: ShutdownPolicy,
        by: By,
    ) -> Result<EntityId, FleetError> {
        let mut known = self.fleet.find(namespace, name, false).await?;
        refuse(&known, action)?;
        self.fleet.refuse_cordoned(&known, action)?;
        Arc::make_mut(&mut known.record).restore = false;
        let mut updates = DesiredUpdates::default();
        let power = Power {
            state: action.state(),
            action: Some(action),
            grace_s: how.grace_s(),
            drained: None,
        };
        self.fleet
            .power_update(&known, power, how.force, None, &mut updates)
            .await?;
        self.fleet.record(updates, by).await?;
        Ok(known.entity)
    }
}

impl Fleet {
    /// Whether what was recorded last does not go on by itself.
    fn is_stuck(&self, entity: &EntityId) -> bool {
        let verdict = self.own_verdict(entity);
        !matches!(verdict, None | Some(Verdict::Reached))
    }

    /// Refuses a power command that would take up a replacement of disks which is stuck. One that goes on is waited
    /// for.
    pub(in crate::fleet) fn refuse_ordered_replacement(
        &self,
        known: &Known,
    ) -> Result<(), FleetError> {
        if !self.is_stuck(&known.entity) || !boot_disks::was_made(&known.state) {
            return Ok(());
        }
        let plan = self.plan_of(&known.record, known);
        let destroys_nothing = orders::destroys_nothing(&known.record, &plan, &known.state);
        destroys_nothing.map_err(|failure| FleetError::new(ErrorKind::Blocked, failure))
    }

    /// Refuses a power command that would destroy what nobody ordered, before the guest is stopped for it. For a VSI that
    /// is being worked on, its next graph says so.
    fn refuse_unordered(&self, record: &VsiRecord, known: &Known) -> Result<(), FleetError> {
        if !known.state.is_settled() {
            return Ok(());
        }
        let plan = self.plan_of(record, known);
        match orders::missing(record, &plan, &known.state) {
            None => Ok(()),
            Some(missing) => {
                let failure = orders::not_ordered(record, missing);
                Err(FleetError::new(ErrorKind::Blocked, failure))
            }
        }
    }

    /// Adds the VSI with another power state to `updates`.
    ///
    /// # Errors
    /// Blocked, `VSI0041`, when a replacement of its disks is ordered and stuck, or one would be needed that nobody
    /// ordered; when the journal fails.
    pub(in crate::fleet) async fn power_update(
        &self,
        known: &Known,
        power: Power,
        force: bool,
        turn: Option<RolloutPredecessor>,
        updates: &mut DesiredUpdates,
    ) -> Result<(), FleetError> {
        self.refuse_ordered_replacement(known)?;
        let ids = self.secrets.ids().await?;
        let mut record = VsiRecord {
            power: Some(power),
            before: known.history(),
            turn,
            formats: self.formats(known).await?,
            ..VsiRecord::clone(&known.record)
        };
        record.retired.retain(|secret| ids.contains(secret));
        self.refuse_unordered(&record, known)?;
        let precedence = if force || self.is_stuck(&known.entity) {
            Precedence::Supersede
        } else {
            Precedence::Queue
        };
        let workflow = known.workflow_of_changes();
        let entity = known.entity.clone();
        updates.add(entity, workflow, precedence, &record, known.made_from())
    }
}

fn refuse(known: &Known, action: PowerAction) -> Result<(), FleetError> {
    let name = &known.record.vsi.full_name();
    let blocked = |code: &str, message: &str, remedy: &str| {
        let failure = Failure::new(FailureClass::Blocked, code, message)
            .of_object(format!("vsi/{name}"))
            .with_remedy(remedy);
        Err(FleetError::new(ErrorKind::Blocked, failure))
    };
    if is_deleting(&known.state) {
        return Err(FleetError::going(name));
    }
    let state = known.record.power_state();
    match (action, state) {
        (PowerAction::Pause | PowerAction::Unpause, PowerState::Stopped) => {
            let remedy = "start it first: `vsiflow start`";
            blocked(
                "VSI0705",
                "it is stopped; only a guest that runs is paused",
                remedy,
            )
        }
        _ => Ok(()),
    }
}
