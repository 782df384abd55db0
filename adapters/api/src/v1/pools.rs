//! The routes of pools.

use std::time::Duration;

use aide::axum::{ApiRouter, routing::post_with};
use axum::{
    Extension, Json,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::Deserialize;
use vsiflow_engine::{executor::By, model::EntityId};
use vsiflow_workflows::fleet::{Fleet, FleetError};

use super::{
    actions::{ActionEffect, ActionResult, wait_for},
    resource::{Answer, ObjectPath, about},
};
use crate::json_body::{JsonBody, OptionalJsonBody};
use crate::{Caller, Problem, api::Api};

const TAG: &str = "virtualserverpools";
const ONE: &str = "/v1/namespaces/{namespace}/virtualserverpools/{name}";

/// How many members a pool is to have.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScaleRequest {
    /// How many.
    replicas: i64,
    /// Why; stored in the history.
    #[serde(default)]
    reason: String,
    /// How long to wait until the pool is available, in seconds, 60 at most.
    #[serde(default)]
    wait_seconds: u64,
}

/// How something is to be done for a pool.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct PoolRequest {
    /// Why; stored in the history.
    reason: String,
    /// How long to wait until the pool is available, in seconds, 60 at most.
    wait_seconds: u64,
}

#[derive(Clone, Copy)]
enum PoolOperation {
    Rollback,
    Approve,
    Retry,
}

impl PoolOperation {
    /// Whether it may replace members.
    fn destroys(self) -> bool {
        matches!(self, Self::Rollback)
    }
}

/// The actions: word, operation ID, summary, action.
const ACTIONS: &[(&str, &str, &str, PoolOperation)] = &[
    (
        "rollback",
        "rollbackVirtualServerPool",
        "Make the members of a pool from the template before this one again",
        PoolOperation::Rollback,
    ),
    (
        "approve",
        "approveVirtualServerPool",
        "Approve the template that waits for approval",
        PoolOperation::Approve,
    ),
    (
        "retry",
        "retryVirtualServerPool",
        "Try again what is stuck of the members of a pool",
        PoolOperation::Retry,
    ),
];

pub(super) fn changes() -> ApiRouter<Api> {
    let scales = "Set how many members a pool has";
    acts(PoolOperation::destroys).api_route(
        &format!("{ONE}/scale"),
        post_with(scale, about("scaleVirtualServerPool", TAG, scales)),
    )
}

/// Routes of actions that delete no member.
pub(super) fn operates() -> ApiRouter<Api> {
    acts(|action| !action.destroys())
}

fn acts(are_meant: impl Fn(PoolOperation) -> bool) -> ApiRouter<Api> {
    let meant = ACTIONS.iter().filter(|(.., action)| are_meant(*action));
    meant.fold(ApiRouter::new(), |routes, (word, id, summary, action)| {
        let action = *action;
        let act =
            move |State(api): State<Api>,
                  Extension(caller): Extension<Caller>,
                  Path(target): Path<ObjectPath>,
                  OptionalJsonBody(request): OptionalJsonBody<PoolRequest>| async move {
                act(&api, &caller, &target, action, &request)
                    .await
                    .map(Json)
            };
        routes.api_route(
            &format!("{ONE}/{word}"),
            post_with(act, about(id, TAG, summary)),
        )
    })
}

async fn scale(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(target): Path<ObjectPath>,
    JsonBody(request): JsonBody<ScaleRequest>,
) -> Answer<ActionResult> {
    let (by, ObjectPath { namespace, name }) = (caller.by(&request.reason), &target);
    let fleet = api.fleet()?;
    let pool = fleet.pools().scale(namespace, name, request.replicas, by);
    let (pool, result) = (pool.await?, ActionResult::of(ActionEffect::Recorded));
    let wait = Duration::from_secs(request.wait_seconds);
    Ok(Json(wait_for(&api, result, &pool, wait).await?))
}

async fn act(
    api: &Api,
    caller: &Caller,
    target: &ObjectPath,
    action: PoolOperation,
    request: &PoolRequest,
) -> Result<ActionResult, Problem> {
    let by = caller.by(&request.reason);
    let (done, pool) = record(api.fleet()?, target, action, by).await?;
    let wait = Duration::from_secs(request.wait_seconds);
    wait_for(api, ActionResult::of(done), &pool, wait).await
}

async fn record(
    fleet: &Fleet,
    ObjectPath { namespace, name }: &ObjectPath,
    action: PoolOperation,
    by: By,
) -> Result<(ActionEffect, EntityId), FleetError> {
    match action {
        PoolOperation::Rollback => {
            let (pool, _) = fleet.pools().rollback(namespace, name, by).await?;
            Ok((ActionEffect::Recorded, pool))
        }
        PoolOperation::Approve => {
            let pool = fleet.pools().approve(namespace, name, by).await?;
            Ok((ActionEffect::Recorded, pool))
        }
        PoolOperation::Retry => {
            let pool = fleet.pools().find(namespace, name).await?;
            let done = fleet.retry(pool.clone(), by).await?.into();
            Ok((done, pool))
        }
    }
}
