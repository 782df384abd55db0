//! Requests about hosts as wholes: whether they take new VSIs, which machine they are, and that VSIs leave them.
//!
//! A drain that moves members deletes what their disks hold. Whoever agreed to that names the members by their UIDs: if others
//! would move by now, none does. In a set of journals the one that has the host answers.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{executor::By, model::EntityId};
use vsiflow_workflows::{
    fleet::{DrainedVsi, Fleet, FleetError, NamedObject, ShutdownPolicy, of_one_journal},
    kinds::ObjectKind,
    record::kind,
};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::{self, ActAnswer, ActEffect, ActedObject, JournalRequest},
};
use crate::{Caller, JournalSet, Problem, Rights, api::Api};

/// What is done with a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum HostAct {
    /// No new VSI is placed on it.
    Cordon,
    /// New VSIs are placed on it again.
    Uncordon,
    /// The machine that answers now is this host.
    Accept,
    /// It is cordoned, and its VSIs are moved or shut down.
    Drain,
}

/// Asks that something is done with a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MaintainHostRequest {
    /// What.
    pub act: HostAct,
    /// The host.
    pub host: String,
    /// Start the VSIs that a drain shut down; `uncordon` alone.
    #[serde(default)]
    pub start: bool,
    /// Shut the VSIs down; with `move` those that cannot be moved. `drain` alone.
    #[serde(default)]
    pub stop: bool,
    /// Make members of pools on other hosts; `drain` alone.
    #[serde(default, rename = "move")]
    pub moves: bool,
    /// The UIDs of the members that may move; without it, all that can.
    #[serde(default)]
    pub agreed: Option<BTreeSet<String>>,
    /// With `move`: say what would be moved and what would be refused, and change nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Seconds that a guest gets for an orderly end.
    #[serde(default)]
    pub grace_period_seconds: Option<u64>,
    /// End guests immediately.
    #[serde(default)]
    pub force: bool,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
}

impl MaintainHostRequest {
    /// A request to do this with a host.
    pub fn new(act: HostAct, host: &str, reason: &str) -> Self {
        Self {
            act,
            host: host.to_owned(),
            start: false,
            stop: false,
            moves: false,
            agreed: None,
            dry_run: false,
            grace_period_seconds: None,
            force: false,
            reason: reason.to_owned(),
        }
    }
}

impl ServiceRequest for MaintainHostRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "maintainHost",
        path: "/v1/maintain-host",
        summary: "Cordon, uncordon, accept or drain a host",
    };
    const NEEDS: Rights = Rights::Operate;
    const USE: JournalUse = JournalUse::Work;

    fn needs(&self) -> Rights {
        match self.act {
            HostAct::Accept => Rights::Everything,
            // A member that is made on another host loses what its disks hold.
            HostAct::Drain if self.moves && !self.dry_run => Rights::Everything,
            _ => Rights::Operate,
        }
    }

    fn asks_hosts(&self) -> bool {
        matches!(self.act, HostAct::Accept | HostAct::Drain)
    }

    fn is_repeatable(&self) -> bool {
        self.act != HostAct::Accept
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        acted::answer(self, api, caller).await
    }
}

impl JournalRequest for MaintainHostRequest {
    fn check(&self) -> Result<(), Problem> {
        let refused = |detail: &str| Err(Problem::wrong(StatusCode::UNPROCESSABLE_ENTITY, detail));
        if self.start && self.act != HostAct::Uncordon {
            return refused("start is of uncordon");
        }
        if (self.stop || self.moves) && self.act != HostAct::Drain {
            return refused("stop and move are of drain");
        }
        if self.act == HostAct::Drain && !self.stop && !self.moves {
            return refused("a drain needs stop or move");
        }
        if (self.dry_run || self.agreed.is_some()) && !self.moves {
            return refused("dryRun and agreed are of move");
        }
        Ok(())
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(
        &self,
        api: &Api,
        _set: &dyn JournalSet,
    ) -> Result<BTreeMap<u16, Self>, Problem> {
        let journal = api.fleets().await?.journal_of_host(&self.host)?;
        Ok(BTreeMap::from([(journal, self.clone())]))
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, _stays: bool) -> Result<ActAnswer, Problem> {
        let (objects, drained) = match self.act {
            HostAct::Cordon => (self.cordoned(fleet, by).await?, Vec::new()),
            HostAct::Uncordon => (self.uncordoned(fleet, by).await?, Vec::new()),
            HostAct::Accept => (self.accepted(fleet, by).await?, Vec::new()),
            HostAct::Drain if self.dry_run => self.planned_drain(fleet).await?,
            HostAct::Drain => self.drained(fleet, by).await?,
        };
        let unreadable = match self.act {
            HostAct::Drain => fleet.hosts().unreadable(&self.host).await?,
            _ => Vec::new(),
        };
        let warnings = unreadable
            .iter()
            .map(|failure| Problem::of(StatusCode::CONFLICT, failure));
        Ok(ActAnswer {
            drained,
            warnings: warnings.collect(),
            ..ActAnswer::of(objects)
        })
    }
}

impl MaintainHostRequest {
    fn host_object(&self, effect: ActEffect) -> ActedObject {
        ActedObject::without_entity(ObjectKind::Host, "", &self.host, effect)
    }

    async fn cordoned(&self, fleet: &Fleet, by: By) -> Result<Vec<ActedObject>, FleetError> {
        fleet.hosts().cordon(&self.host, by).await?;
        Ok(vec![self.host_object(ActEffect::Cordoned)])
    }

    async fn uncordoned(&self, fleet: &Fleet, by: By) -> Result<Vec<ActedObject>, FleetError> {
        let hosts = fleet.hosts();
        let continuing = hosts.uncordon(&self.host, self.start, by).await?;
        let mut objects = vec![self.host_object(ActEffect::Uncordoned)];
        objects.extend(recorded(fleet, &continuing).await?);
        Ok(objects)
    }

    async fn accepted(&self, fleet: &Fleet, by: By) -> Result<Vec<ActedObject>, FleetError> {
        let (machine, continuing) = fleet.hosts().accept(&self.host, by).await?;
        let mut objects = vec![ActedObject {
            machine: Some(machine),
            ..self.host_object(ActEffect::Accepted)
        }];
        objects.extend(recorded(fleet, &continuing).await?);
        Ok(objects)
    }

    async fn planned_drain(
        &self,
        fleet: &Fleet,
    ) -> Result<(Vec<ActedObject>, Vec<DrainedVsi>), FleetError> {
        refuse_moves_over_journals(fleet)?;
        let drained = Box::pin(fleet.hosts().plan_drain(&self.host)).await?;
        let mut refused = Vec::new();
        for vsi in drained.iter().filter(|vsi| vsi.moves) {
            let (namespace, name) = (&vsi.namespace, &vsi.name);
            let refusal = fleet.vsis().deletion_refusal(namespace, name).await?;
            if let Some(failure) = refusal {
                refused.push(ActedObject {
                    uid: vsi.uid.clone(),
                    problem: Some(Problem::of(StatusCode::CONFLICT, &failure)),
                    ..ActedObject::without_entity(
                        ObjectKind::Vsi,
                        namespace,
                        name,
                        ActEffect::Refused,
                    )
                });
            }
        }
        Ok((refused, drained))
    }

    async fn drained(
        &self,
        fleet: &Fleet,
        by: By,
    ) -> Result<(Vec<ActedObject>, Vec<DrainedVsi>), FleetError> {
        let hosts = fleet.hosts();
        let mut objects = vec![self.host_object(ActEffect::Cordoned)];
        let mut drained = Vec::new();
        if self.moves {
            refuse_moves_over_journals(fleet)?;
            let moving = hosts.drain_moving(&self.host, self.agreed.as_ref(), by.clone());
            let (vsis, pools) = Box::pin(moving).await?;
            objects.extend(recorded(fleet, &pools).await?);
            drained = vsis;
        }
        if self.stop {
            let how = ShutdownPolicy {
                timeout_s: self.grace_period_seconds,
                force: self.force,
            };
            let stopped = hosts.drain(&self.host, how, by).await?;
            objects.extend(recorded(fleet, &stopped).await?);
        }
        Ok((objects, drained))
    }
}

fn refuse_moves_over_journals(fleet: &Fleet) -> Result<(), FleetError> {
    if fleet.pools().are_over_journals() {
        let why = "members of pools are moved by journal 0";
        let remedy = "cordon the host, and delete the members; or drain it with stop alone";
        return Err(of_one_journal(why, remedy));
    }
    Ok(())
}

/// VSIs and pools that are worked on.
async fn recorded(fleet: &Fleet, entities: &[EntityId]) -> Result<Vec<ActedObject>, FleetError> {
    let mut objects = fleet.vsis_of(entities).await?;
    for entity in entities
        .iter()
        .filter(|entity| entity.kind().as_str() == kind::POOL)
    {
        let (namespace, name) = fleet.pools().title(entity).await?;
        objects.push(NamedObject {
            entity: entity.clone(),
            namespace,
            name,
        });
    }
    let acted = objects.into_iter();
    Ok(acted
        .map(|object| ActedObject::of(object, ActEffect::Recorded))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_operator_may_have_done_with_a_host_destroys_nothing() {
        let drain = |moves, dry_run| MaintainHostRequest {
            stop: true,
            moves,
            dry_run,
            ..MaintainHostRequest::new(HostAct::Drain, "lpar1", "")
        };
        assert_eq!(drain(false, false).needs(), Rights::Operate);
        assert_eq!(drain(true, true).needs(), Rights::Operate);
        assert_eq!(drain(true, false).needs(), Rights::Everything);
        for (act, rights) in [
            (HostAct::Cordon, Rights::Operate),
            (HostAct::Uncordon, Rights::Operate),
            (HostAct::Accept, Rights::Everything),
        ] {
            assert_eq!(MaintainHostRequest::new(act, "lpar1", "").needs(), rights);
        }
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let drain = || MaintainHostRequest::new(HostAct::Drain, "lpar1", "");
        let agreed = Some(BTreeSet::new());
        for refused in [
            drain(),
            MaintainHostRequest {
                stop: true,
                agreed,
                ..drain()
            },
            MaintainHostRequest {
                stop: true,
                dry_run: true,
                ..drain()
            },
            MaintainHostRequest {
                start: true,
                stop: true,
                ..drain()
            },
            MaintainHostRequest {
                moves: true,
                ..MaintainHostRequest::new(HostAct::Cordon, "lpar1", "")
            },
        ] {
            assert!(refused.check().is_err(), "{refused:?}");
        }
    }
}
