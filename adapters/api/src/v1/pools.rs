//! The routes of pools.

use aide::axum::{ApiRouter, routing::post_with};
use axum::{
    Extension, Json,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    actions::{ActionResult, carry_out},
    resource::{Answer, ObjectPath, about},
};
use crate::json_body::{JsonBody, OptionalJsonBody};
use crate::{Act, ActRequest, Caller, Problem, RollbackPoolRequest, ScaleRequest, api::Api};

const TAG: &str = "virtualserverpools";
const ONE: &str = "/v1/namespaces/{namespace}/virtualserverpools/{name}";

/// How many members a pool is to have.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScalePoolRequest {
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
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    JsonBody(request): JsonBody<ScalePoolRequest>,
) -> Answer<ActionResult> {
    let scales = ScaleRequest {
        namespace,
        name: format!("pool/{name}"),
        pool: None,
        replicas: request.replicas,
        reason: request.reason,
    };
    Ok(Json(
        carry_out(&api, &caller, scales, request.wait_seconds).await?,
    ))
}

async fn act(
    api: &Api,
    caller: &Caller,
    ObjectPath { namespace, name }: &ObjectPath,
    action: PoolOperation,
    request: &PoolRequest,
) -> Result<ActionResult, Problem> {
    let (name, wait) = (format!("pool/{name}"), request.wait_seconds);
    let acts = |act| ActRequest {
        names: vec![name.clone()],
        ..ActRequest::new(act, namespace, &request.reason)
    };
    match action {
        PoolOperation::Approve => carry_out(api, caller, acts(Act::Approve), wait).await,
        PoolOperation::Retry => carry_out(api, caller, acts(Act::Retry), wait).await,
        PoolOperation::Rollback => {
            let rolls_back = RollbackPoolRequest {
                namespace: namespace.clone(),
                name,
                reason: request.reason.clone(),
            };
            carry_out(api, caller, rolls_back, wait).await
        }
    }
}
