//! Cordoning, draining and uncordoning of hosts, and the global pause.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::{
    executor::By,
    model::{EntityId, Failure, FailureClass, Name, NodeState},
    step::Step as _,
};
use vsiflow_steps::{
    error::{CORDONED, Code},
    vsi::{ResolveHost, resolve_host},
};

use crate::fleet::{
    ErrorKind, Fleet, FleetError, HostHandle, ShutdownPolicy, Verdict, index::Known,
    store::DesiredUpdates,
};
use crate::{
    phase::IS_CORDONED,
    pool::PoolRecord,
    record::{Power, PowerAction, host_entity},
    spec::PowerState,
};

const SCHEDULABLE: &str = "Schedulable";

impl HostHandle<'_> {
    /// Cordons a host: it takes no new VSI, and existing ones continue. The reason is in `by`. A cordon
    /// survives restarts.
    ///
    /// # Errors
    /// When the journal does not know the host, or cannot be written.
    pub async fn cordon(self, host: &str, by: By) -> Result<(), FleetError> {
        let why = by.reason.as_str().to_owned();
        self.fleet.note_host(host, IS_CORDONED, by).await?;
        self.fleet.reach.cordon(host, Some(&why));
        Ok(())
    }

    /// Uncordons a host: it takes new VSIs again, and those that waited for that continue. Members that
    /// were to leave it and are not being deleted yet stay. With `start`, VSIs that a drain shut down
    /// return to their earlier power state. Returns all VSIs that continue.
    ///
    /// # Errors
    /// As for [`HostHandle::cordon`]. With `start`, the first refusal of a VSI, such as `VSI0041`; all others are
    /// started.
    pub async fn uncordon(
        self,
        host: &str,
        start: bool,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        self.fleet.host_of(host)?;
        // Before the host is uncordoned: after a crash in between it is still cordoned, and nothing leaves
        // it.
        self.fleet.stop_evictions(host, &by).await?;
        self.fleet.note_host(host, SCHEDULABLE, by.clone()).await?;
        self.fleet.reach.cordon(host, None);
        let (mut updates, mut continuing) = (DesiredUpdates::default(), Vec::new());
        let mut refusal = None;
        for known in self.fleet.on_host(host).await? {
            let power = undrained(&known).filter(|_| start);
            if self.fleet.waits_for(&known, CORDONED) {
                let entity = known.entity.clone();
                self.fleet.engine.retry(entity, by.clone()).await?;
            } else if let Some(power) = power {
                let update = self
                    .fleet
                    .power_update(&known, power, false, None, &mut updates);
                if let Err(error) = update.await {
                    refusal.get_or_insert(error);
                    continue;
                }
            } else {
                continue;
            }
            continuing.push(known.entity);
        }
        self.fleet.record(updates, by).await?;
        refusal.map_or(Ok(continuing), Err)
    }

    /// Cordons a host and shuts down everything of this journal on it, except members that leave it.
    /// [`HostHandle::uncordon`] starts it again. Returns the VSIs that are to be off.
    ///
    /// # Errors
    /// As for [`HostHandle::cordon`]. `VSI0041` if a VSI on it has a replacement of its disks that is ordered and stuck:
    /// shutting it down would carry that out. Then the host is cordoned, and nothing is shut down.
    pub async fn drain(
        self,
        host: &str,
        how: ShutdownPolicy,
        by: By,
    ) -> Result<Vec<EntityId>, FleetError> {
        self.cordon(host, by.clone()).await?;
        let leaving = self.fleet.leaving(host).await?;
        let (mut updates, mut stopped) = (DesiredUpdates::default(), Vec::new());
        for known in self.fleet.on_host(host).await? {
            if leaving.contains(&known.record.uid) {
                continue;
            }
            let before = known.record.power_state();
            if before == PowerState::Stopped && !known.state.is_settled() {
                self.fleet.refuse_ordered_replacement(&known)?;
                self.fleet
                    .engine
                    .retry(known.entity.clone(), by.clone())
                    .await?;
                stopped.push(known.entity);
                continue;
            }
            if before == PowerState::Stopped || !self.fleet.has_begun(&known) {
                continue;
            }
            let power = Power {
                state: PowerState::Stopped,
                action: Some(PowerAction::Stop),
                grace_s: how.grace_s(),
                drained: Some(before),
            };
            self.fleet
                .power_update(&known, power, how.force, None, &mut updates)
                .await?;
            stopped.push(known.entity);
        }
        self.fleet.record(updates, by).await?;
        Ok(stopped)
    }
}

impl Fleet {
    /// Sets or ends the global pause: no step is started on any host, also after restarts, until it is
    /// ended. Steps in progress end; desired states are recorded.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub async fn set_global_pause(&self, on: bool, by: By) -> Result<(), FleetError> {
        Ok(self.engine.set_global_pause(on, by).await?)
    }

    /// The failure that reports the global pause; `None` if it is off.
    pub fn global_pause(&self) -> Option<Failure> {
        let why = self.engine.global_pause()?;
        let message = match why.as_str() {
            "" => "everything is paused".to_owned(),
            why => format!("everything is paused: {why}"),
        };
        Some(
            Failure::new(FailureClass::Blocked, "VSI0016", message)
                .with_remedy("End the global pause with `vsiflow unpause --all`."),
        )
    }

    /// The verdict on what only waits for its members or its runs: blocked while everything is paused.
    pub(in crate::fleet) fn paused(&self) -> Option<Verdict> {
        self.global_pause().map(Verdict::Blocked)
    }

    /// Refuses to start a guest on a host that is cordoned.
    pub(in crate::fleet) fn refuse_cordoned(
        &self,
        known: &Known,
        action: PowerAction,
    ) -> Result<(), FleetError> {
        use vsiflow_steps::ports::Hosts as _;
        let off = known.record.power_state() == PowerState::Stopped;
        let host = &known.record.vsi.host;
        let rises = matches!(action, PowerAction::Start | PowerAction::Restart) && off;
        let Some(why) = self.reach.cordoned(host).filter(|_| rises) else {
            return Ok(());
        };
        let failure = resolve_host::cordoned(host, &why)
            .of_object(format!("vsi/{}", known.record.vsi.full_name()));
        Err(FleetError::new(ErrorKind::Blocked, failure))
    }

    async fn note_host(&self, host: &str, state: &str, by: By) -> Result<(), FleetError> {
        let entity = self.host_of(host)?;
        let (state, why) = (Name::of(state), by.reason.clone());
        Ok(self.engine.note_state(entity, state, why, by).await?)
    }

    fn host_of(&self, host: &str) -> Result<EntityId, FleetError> {
        self.hosts().settings(host)?;
        let entity = host_entity(host).ok();
        let known = entity.filter(|entity| self.engine.entity(entity).is_some());
        known.ok_or_else(|| FleetError::not_found("host", host))
    }

    /// The VSIs on the host that are not deleted or being deleted, by name.
    pub(in crate::fleet) async fn on_host(&self, host: &str) -> Result<Vec<Known>, FleetError> {
        let mut all = self.known().await?;
        all.retain(|known| {
            let going = crate::fleet::apply::is_deleting(&known.state) || known.is_deleted();
            known.record.vsi.host == host && !going && known.unreadable.is_none()
        });
        Ok(all)
    }

    /// The members of pools that are to leave the host.
    async fn leaving(&self, host: &str) -> Result<BTreeSet<Uuid>, FleetError> {
        let pools = self.living::<PoolRecord>().await?;
        let all = pools.iter().flat_map(|pool| &pool.record.evicting);
        let from = all.filter(|(_, eviction)| eviction.from == host);
        Ok(from.map(|(uid, _)| *uid).collect())
    }

    /// Whether the VSI has something on its host, or its run has passed the step at which a cordon stops
    /// it.
    fn has_begun(&self, known: &Known) -> bool {
        let (state, host) = (&known.state, Name::of(ResolveHost::NAME));
        let run = state.active.as_ref().and_then(|a| self.engine.run(a.run));
        let node = run.and_then(|run| run.nodes.get(&host).cloned());
        let past = matches!(
            node,
            Some(NodeState::Running { .. } | NodeState::Succeeded { .. })
        );
        state.reached > 0 || !state.intents.is_empty() || past
    }

    /// Whether the VSI is blocked by a failure with this code.
    pub(in crate::fleet) fn waits_for(&self, known: &Known, code: Code) -> bool {
        let is_blocked = self.engine.view(&known.entity, |view| {
            view.obstacle.is_some_and(|obstacle| {
                let blocked = matches!(obstacle.state, NodeState::Blocked { .. });
                blocked && obstacle.failure.code.as_str() == code.code
            })
        });
        is_blocked.unwrap_or(false)
    }
}

/// The power that a guest had before a drain shut it down.
fn undrained(known: &Known) -> Option<Power> {
    let power = known.record.power?;
    let state = power.drained?;
    Some(Power {
        state,
        action: Some(PowerAction::to(state)),
        drained: None,
        ..power
    })
}
