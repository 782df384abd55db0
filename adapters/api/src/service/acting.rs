//! The request that something is done with objects, without anything of a guest being lost: power, retry, cancel, approve.
//!
//! All names are looked up before anything is recorded, so that a typing error changes nothing. In a set of journals each
//! journal records its own part, and each result is in the answer.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::executor::{By, Cancelled};
use vsiflow_workflows::{
    fleet::{ErrorKind, Fleet, FleetError, NamedObject, ShutdownPolicy},
    kinds::ObjectKind,
    record::PowerAction,
};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::{
        self, ActAnswer, ActEffect, ActedObject, JournalRequest, journal_of, kind_of, qualified,
    },
    reading::default_namespace,
};
use crate::{Caller, JournalSet, Problem, Rights, api::Api};

/// What is done with objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Act {
    /// VSIs start.
    Start,
    /// VSIs are shut down.
    Stop,
    /// VSIs are shut down and started again.
    Restart,
    /// VSIs are suspended.
    Pause,
    /// VSIs that are suspended continue.
    Unpause,
    /// What is blocked, delayed or failed is tried again at once.
    Retry,
    /// Open runs end after the step in progress, and what exists remains. Deletions of pools and groups are taken back.
    Cancel,
    /// The changes that wait for approval are approved.
    Approve,
    /// No step is started on any host, until that is ended; no object is named.
    PauseAll,
    /// That is ended.
    UnpauseAll,
}

impl Act {
    fn power(self) -> Option<PowerAction> {
        match self {
            Self::Start => Some(PowerAction::Start),
            Self::Stop => Some(PowerAction::Stop),
            Self::Restart => Some(PowerAction::Restart),
            Self::Pause => Some(PowerAction::Pause),
            Self::Unpause => Some(PowerAction::Unpause),
            _ => None,
        }
    }
}

/// The kinds of objects that something is done with.
struct ActedKinds {
    kinds: &'static [ObjectKind],
    /// What all other kinds lack.
    lacked: &'static str,
    remedy: &'static str,
}

impl Act {
    fn kinds(self) -> ActedKinds {
        use ObjectKind::{Disk, Group, Network, Pool, Snapshot, Vsi};
        match self {
            Self::Retry => ActedKinds {
                kinds: &[Vsi, Disk, Pool, Group, Network, Snapshot],
                lacked: "has nothing that can be tried again",
                remedy: "name VSIs, data disks as `disk/NAME`, pools, groups, networks or snapshots",
            },
            Self::Cancel => ActedKinds {
                kinds: &[Vsi, Disk, Pool, Group],
                lacked: "has nothing that can be cancelled",
                remedy: "name VSIs, data disks as `disk/NAME`, or pools and groups that are being deleted",
            },
            Self::Approve => ActedKinds {
                kinds: &[Vsi, Pool],
                lacked: "has no changes that wait for approval",
                remedy: "name VSIs, or pools as `pool/NAME`",
            },
            _ => ActedKinds {
                kinds: &[Vsi],
                lacked: "has no power state",
                remedy: "name VSIs",
            },
        }
    }
}

impl From<PowerAction> for Act {
    fn from(action: PowerAction) -> Self {
        match action {
            PowerAction::Start => Self::Start,
            PowerAction::Stop => Self::Stop,
            PowerAction::Restart => Self::Restart,
            PowerAction::Pause => Self::Pause,
            PowerAction::Unpause => Self::Unpause,
        }
    }
}

/// Asks that something is done with objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActRequest {
    /// What.
    pub act: Act,
    /// The namespace of names without one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The objects, such as `web`, `disk/data` or `pool/web`.
    #[serde(default)]
    pub names: Vec<String>,
    /// Instead of names, the VSIs that have not reached their desired state; `retry` alone.
    #[serde(default)]
    pub unsettled: bool,
    /// Of these, the VSIs on this host.
    #[serde(default)]
    pub host: Option<String>,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
    /// Seconds that a guest gets for an orderly end; `stop` and `restart` alone.
    #[serde(default)]
    pub grace_period_seconds: Option<u64>,
    /// End the guest immediately; `stop` and `restart` alone.
    #[serde(default)]
    pub force: bool,
    /// The ID of the one change that is approved; `approve` alone. Without it, the one that waits.
    #[serde(default)]
    pub proposal: Option<String>,
}

impl ActRequest {
    /// A request to do this with objects of a namespace, which are to be named.
    pub fn new(act: Act, namespace: &str, reason: &str) -> Self {
        Self {
            act,
            namespace: namespace.to_owned(),
            names: Vec::new(),
            unsettled: false,
            host: None,
            reason: reason.to_owned(),
            grace_period_seconds: None,
            force: false,
            proposal: None,
        }
    }
}

impl ServiceRequest for ActRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "act",
        path: "/v1/act",
        summary: "Start, stop, restart, pause, unpause, retry, cancel or approve",
    };
    const NEEDS: Rights = Rights::Operate;
    const USE: JournalUse = JournalUse::Work;

    fn is_repeatable(&self) -> bool {
        !matches!(self.act, Act::Restart | Act::Cancel | Act::Approve)
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        acted::answer(self, api, caller).await
    }
}

impl JournalRequest for ActRequest {
    fn check(&self) -> Result<(), Problem> {
        let refused = |detail: &str| {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Err(Problem::wrong(status, detail))
        };
        let ends_guests = matches!(self.act, Act::Stop | Act::Restart);
        if (self.force || self.grace_period_seconds.is_some()) && !ends_guests {
            return refused("force and gracePeriodSeconds are of stop and restart");
        }
        if self.proposal.is_some() && self.act != Act::Approve {
            return refused("proposal is of approve");
        }
        if self.unsettled && (self.act != Act::Retry || !self.names.is_empty()) {
            return refused("unsettled is of retry without names");
        }
        if self.is_of_journals() && !self.names.is_empty() {
            return refused("pauseAll and unpauseAll are of no objects");
        }
        if self.host.is_some() && !self.unsettled {
            return refused("host is of unsettled");
        }
        self.check_kinds()
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(&self, api: &Api, set: &dyn JournalSet) -> Result<BTreeMap<u16, Self>, Problem> {
        let fleets = api.fleets().await?;
        let mut parts: BTreeMap<u16, Self> = BTreeMap::new();
        let empty = Self {
            names: Vec::new(),
            ..self.clone()
        };
        if self.unsettled || self.is_of_journals() {
            let journals = (0..).zip(fleets.all());
            return Ok(journals
                .map(|(number, _)| (number, empty.clone()))
                .collect());
        }
        let names = match self.act {
            // Pools and groups are in journal 0, and their members in any.
            Act::Retry => fleets.with_members(&self.namespace, &self.names).await?,
            _ => self.names.clone(),
        };
        for name in names {
            let journal = journal_of(set, &fleets, &self.namespace, &name).await?;
            let part = parts.entry(journal).or_insert_with(|| empty.clone());
            part.names.push(name);
        }
        Ok(parts)
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, _stays: bool) -> Result<ActAnswer, Problem> {
        Ok(ActAnswer::of(self.record(fleet, by).await?))
    }
}

impl ActRequest {
    /// Whoever means an object of another kind does not mean the VSI with its name.
    fn check_kinds(&self) -> Result<(), Problem> {
        let ActedKinds {
            kinds,
            lacked,
            remedy,
        } = self.act.kinds();
        for name in &self.names {
            let (kind, _) = ObjectKind::of_name(name);
            if !kinds.contains(&kind) {
                let detail = format!("{name}: a {} {lacked}", kind.words().noun);
                let status = StatusCode::UNPROCESSABLE_ENTITY;
                return Err(Problem::new(status, "VSI0801", detail, remedy));
            }
        }
        Ok(())
    }

    fn is_of_journals(&self) -> bool {
        matches!(self.act, Act::PauseAll | Act::UnpauseAll)
    }

    /// Records it in this journal.
    async fn record(&self, fleet: &Fleet, by: By) -> Result<Vec<ActedObject>, Problem> {
        if self.is_of_journals() {
            let on = self.act == Act::PauseAll;
            fleet.set_global_pause(on, by).await?;
            return Ok(Vec::new());
        }
        if self.act == Act::Cancel {
            return Ok(self.cancel(fleet, by).await?);
        }
        if self.act == Act::Approve {
            return self.approve(fleet, by).await;
        }
        let objects = self.objects(fleet).await?;
        if let Some(action) = self.act.power() {
            return self.power(fleet, action, objects, by).await;
        }
        let mut acted = Vec::new();
        for object in objects {
            let retried = fleet.retry(object.entity.clone(), by.clone()).await?;
            acted.push(ActedObject::of(object, retried.into()));
        }
        Ok(acted)
    }

    async fn objects(&self, fleet: &Fleet) -> Result<Vec<NamedObject>, FleetError> {
        if self.unsettled {
            let open = fleet.unsettled(self.host.as_deref()).await?;
            return fleet.vsis_of(&open).await;
        }
        fleet.objects_named(&self.namespace, &self.names).await
    }

    async fn power(
        &self,
        fleet: &Fleet,
        action: PowerAction,
        objects: Vec<NamedObject>,
        by: By,
    ) -> Result<Vec<ActedObject>, Problem> {
        let how = ShutdownPolicy {
            timeout_s: self.grace_period_seconds,
            force: self.force,
        };
        let mut acted = Vec::new();
        for object in objects {
            let (namespace, name) = (&object.namespace, &object.name);
            let recorded = fleet
                .vsis()
                .power(namespace, name, action, how, by.clone())
                .await;
            acted.push(match recorded {
                Ok(_) => ActedObject::of(object, ActEffect::Recorded),
                // A VSI that cannot do it does not stop the others.
                Err(refusal) if refusal.kind == ErrorKind::Blocked => ActedObject {
                    problem: Some(refusal.into()),
                    ..ActedObject::of(object, ActEffect::Refused)
                },
                Err(error) => return Err(error.into()),
            });
        }
        Ok(acted)
    }

    /// Takes back the deletions of pools and groups, and ends the runs of everything else.
    async fn cancel(&self, fleet: &Fleet, by: By) -> Result<Vec<ActedObject>, FleetError> {
        let mut acted = Vec::new();
        for object in fleet.objects_named(&self.namespace, &self.names).await? {
            let (namespace, name, by) = (&object.namespace, &object.name, by.clone());
            let was_leaving = match kind_of(&object) {
                ObjectKind::Pool => fleet.pools().cancel_deletion(namespace, name, by).await?,
                ObjectKind::Group => fleet.groups().cancel_deletion(namespace, name, by).await?,
                _ => {
                    let effect = cancelled(fleet, &object, by).await?;
                    acted.push(ActedObject::of(object, effect));
                    continue;
                }
            };
            let effect = if was_leaving {
                ActEffect::DeletionTakenBack
            } else {
                ActEffect::NothingToDo
            };
            acted.push(ActedObject::of(object, effect));
        }
        Ok(acted)
    }

    async fn approve(&self, fleet: &Fleet, by: By) -> Result<Vec<ActedObject>, Problem> {
        let outdated = if let Some(proposal) = &self.proposal {
            self.approve_one(fleet, proposal, by).await?
        } else {
            let is_pool = |name: &&String| ObjectKind::of_name(name).0 == ObjectKind::Pool;
            let (pools, vsis): (Vec<_>, Vec<_>) = self.names.iter().partition(is_pool);
            let vsis: Vec<_> = vsis
                .into_iter()
                .map(|name| qualified(name).to_owned())
                .collect();
            fleet
                .vsis()
                .approve(&self.namespace, &vsis, by.clone())
                .await?;
            for pool in pools {
                let (_, name) = ObjectKind::of_name(pool);
                fleet
                    .pools()
                    .approve(&self.namespace, name, by.clone())
                    .await?;
            }
            None
        };
        let effect = match outdated {
            Some(_) => ActEffect::NothingToDo,
            None => ActEffect::Recorded,
        };
        let objects = fleet.objects_named(&self.namespace, &self.names).await?;
        let acted = objects.into_iter().map(|object| ActedObject {
            problem: outdated.clone(),
            ..ActedObject::of(object, effect)
        });
        Ok(acted.collect())
    }

    /// Approves one change and no other; the problem is that it does not wait any more.
    async fn approve_one(
        &self,
        fleet: &Fleet,
        proposal: &str,
        by: By,
    ) -> Result<Option<Problem>, Problem> {
        let [only] = self.names.as_slice() else {
            let detail = "a proposal is the change of one VSI or pool";
            let remedy = "name that one alone";
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            return Err(Problem::new(status, "VSI0810", detail, remedy));
        };
        let (kind, name) = ObjectKind::of_name(only);
        let namespace = &self.namespace;
        let was_it = match kind {
            ObjectKind::Pool => {
                fleet
                    .pools()
                    .approve_this(namespace, name, proposal, by)
                    .await?
            }
            _ => {
                fleet
                    .vsis()
                    .approve_this(namespace, qualified(only), proposal, by)
                    .await?
            }
        };
        if was_it {
            return Ok(None);
        }
        let detail = "the change that was shown does not wait any more";
        let remedy = "check which change waits now, and approve that one";
        let object = if only.contains('/') {
            only.clone()
        } else {
            format!("vsi/{only}")
        };
        Ok(Some(Problem {
            object,
            ..Problem::new(StatusCode::CONFLICT, "VSI0840", detail, remedy)
        }))
    }
}

async fn cancelled(fleet: &Fleet, object: &NamedObject, by: By) -> Result<ActEffect, FleetError> {
    let is_settled = || fleet.is_settled(&object.entity);
    Ok(match fleet.cancel(object.entity.clone(), by).await? {
        Cancelled::Requested => ActEffect::Recorded,
        Cancelled::OrdersVoided => ActEffect::OrdersVoided,
        Cancelled::NothingToDo if is_settled() => ActEffect::NothingToDo,
        Cancelled::NothingToDo => ActEffect::NothingTakenBack,
    })
}
