//! Requests about pools and groups as wholes: how many members they have, which members they leave out, and the template
//! before this one.
//!
//! In a set of journals, journal 0 has pools and groups.

use std::collections::BTreeMap;

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{executor::By, model::EntityId};
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, NamedObject},
    kinds::ObjectKind,
};

use super::{
    JournalUse, Operation, ServiceRequest,
    acted::{self, ActAnswer, ActEffect, ActedObject, JournalRequest, qualified},
    reading::default_namespace,
};
use crate::{Caller, JournalSet, Problem, Rights, api::Api};

/// The journal of a set that has pools and groups.
const DECIDES: u16 = 0;

/// Asks that a pool, or a pool of a group, has another number of members. With fewer, members are deleted with what their
/// pool does not retain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleRequest {
    /// The namespace, unless the name has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The pool or the group, as `pool/NAME` or `group/NAME`.
    pub name: String,
    /// The pool of a group, as its document names it.
    #[serde(default)]
    pub pool: Option<String>,
    /// How many members.
    pub replicas: i64,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
}

/// Asks that members of pools are left out by their pools, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CordonMembersRequest {
    /// The namespace of names without one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The members.
    pub names: Vec<String>,
    /// Whether they are left out.
    pub on: bool,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
}

/// Asks that the members of a pool are made from the template before this one again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RollbackPoolRequest {
    /// The namespace, unless the name has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The pool, as `pool/NAME`.
    pub name: String,
    /// Why; stored in the history.
    #[serde(default)]
    pub reason: String,
}

impl ServiceRequest for ScaleRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "scale",
        path: "/v1/scale",
        summary: "Set how many members a pool, or a pool of a group, has",
    };
    const NEEDS: Rights = Rights::Everything;
    const USE: JournalUse = JournalUse::Work;

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        acted::answer(self, api, caller).await
    }
}

impl JournalRequest for ScaleRequest {
    fn check(&self) -> Result<(), Problem> {
        let (kind, _) = ObjectKind::of_name(&self.name);
        match (kind, &self.pool) {
            (ObjectKind::Pool, None) | (ObjectKind::Group, Some(_)) => Ok(()),
            (ObjectKind::Group, None) => {
                let remedy =
                    "name one of them with --pool; `vsiflow describe group/NAME` lists them";
                Err(unusable("a group has several pools".to_owned(), remedy))
            }
            _ => Err(no_pool(&self.name)),
        }
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(
        &self,
        _api: &Api,
        _set: &dyn JournalSet,
    ) -> Result<BTreeMap<u16, Self>, Problem> {
        Ok(of_journal_0(self))
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, _stays: bool) -> Result<ActAnswer, Problem> {
        let (namespace, (_, name)) = (&self.namespace, ObjectKind::of_name(&self.name));
        let object = match &self.pool {
            Some(pool) => {
                let groups = fleet.groups();
                let group = groups
                    .scale(namespace, name, pool, self.replicas, by)
                    .await?;
                let (own_namespace, title) = groups.title(&group).await?;
                named(group, own_namespace, title)
            }
            None => {
                let scaled = fleet
                    .pools()
                    .scale(namespace, name, self.replicas, by)
                    .await?;
                pool_named(fleet, scaled).await?
            }
        };
        let scaled = ActedObject::of(object, ActEffect::Recorded);
        Ok(ActAnswer::of(vec![scaled]))
    }
}

impl ServiceRequest for CordonMembersRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "cordonMembers",
        path: "/v1/cordon-members",
        summary: "Have pools leave members out, or not any more",
    };
    const NEEDS: Rights = Rights::Everything;
    const USE: JournalUse = JournalUse::Work;

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        acted::answer(self, api, caller).await
    }
}

impl JournalRequest for CordonMembersRequest {
    fn check(&self) -> Result<(), Problem> {
        let is_vsi = |name: &&String| ObjectKind::of_name(name).0 == ObjectKind::Vsi;
        match self.names.iter().find(|name| !is_vsi(name)) {
            Some(other) => Err(unusable(
                format!("{other} is no member of a pool"),
                "name VSIs; `vsiflow host cordon` is for hosts",
            )),
            None => Ok(()),
        }
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(
        &self,
        _api: &Api,
        _set: &dyn JournalSet,
    ) -> Result<BTreeMap<u16, Self>, Problem> {
        Ok(of_journal_0(self))
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, _stays: bool) -> Result<ActAnswer, Problem> {
        let mut acted: Vec<ActedObject> = Vec::new();
        for name in &self.names {
            let member = qualified(name);
            let pools = fleet.pools();
            let cordoned = pools.cordon_member(&self.namespace, member, self.on, by.clone());
            let pool = Box::pin(cordoned).await?;
            let index = acted.iter().position(|object| object.uid == pool.id());
            let index = match index {
                Some(index) => index,
                None => {
                    let object = pool_named(fleet, pool).await?;
                    acted.push(ActedObject::of(object, ActEffect::Recorded));
                    acted.len().saturating_sub(1)
                }
            };
            if let Some(object) = acted.get_mut(index) {
                object.members.push(member.to_owned());
            }
        }
        Ok(ActAnswer::of(acted))
    }
}

impl ServiceRequest for RollbackPoolRequest {
    type Answer = ActAnswer;
    const OPERATION: Operation = Operation {
        id: "rollbackPool",
        path: "/v1/rollback-pool",
        summary: "Make the members of a pool from the template before this one again",
    };
    const NEEDS: Rights = Rights::Everything;
    const USE: JournalUse = JournalUse::Work;

    fn is_repeatable(&self) -> bool {
        false
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ActAnswer, Problem> {
        acted::answer(self, api, caller).await
    }
}

impl JournalRequest for RollbackPoolRequest {
    fn check(&self) -> Result<(), Problem> {
        match ObjectKind::of_name(&self.name).0 {
            ObjectKind::Pool => Ok(()),
            _ => Err(no_pool(&self.name)),
        }
    }

    fn reason(&self) -> &str {
        &self.reason
    }

    async fn parts(
        &self,
        _api: &Api,
        _set: &dyn JournalSet,
    ) -> Result<BTreeMap<u16, Self>, Problem> {
        Ok(of_journal_0(self))
    }

    async fn carry_out(&self, fleet: &Fleet, by: By, _stays: bool) -> Result<ActAnswer, Problem> {
        let (_, name) = ObjectKind::of_name(&self.name);
        let (pool, plan) = fleet.pools().rollback(&self.namespace, name, by).await?;
        let object = pool_named(fleet, pool).await?;
        Ok(ActAnswer::of(vec![ActedObject {
            plan: Some(plan),
            ..ActedObject::of(object, ActEffect::Recorded)
        }]))
    }
}

/// Pools and groups are in journal 0.
fn of_journal_0<R: Clone>(request: &R) -> BTreeMap<u16, R> {
    BTreeMap::from([(DECIDES, request.clone())])
}

async fn pool_named(fleet: &Fleet, pool: EntityId) -> Result<NamedObject, FleetError> {
    let (namespace, name) = fleet.pools().title(&pool).await?;
    Ok(named(pool, namespace, name))
}

fn named(entity: EntityId, namespace: String, name: String) -> NamedObject {
    NamedObject {
        entity,
        namespace,
        name,
    }
}

fn no_pool(name: &str) -> Problem {
    unusable(format!("{name} is no pool"), "name it as `pool/NAME`")
}

fn unusable(detail: String, remedy: &str) -> Problem {
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "VSI0810", detail, remedy)
}
