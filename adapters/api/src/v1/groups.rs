//! The routes of groups.

use aide::axum::{ApiRouter, routing::post_with};
use axum::{
    Extension, Json,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    actions::{ActionResult, carry_out},
    resource::{Answer, ObjectPath, about},
};
use crate::json_body::{JsonBody, OptionalJsonBody};
use crate::{Act, ActRequest, Caller, ScaleRequest, api::Api};

const TAG: &str = "virtualservergroups";
const ONE: &str = "/v1/namespaces/{namespace}/virtualservergroups/{name}";

/// How many members a pool of a group is to have.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ScaleGroupRequest {
    /// The pool, as the group's document names it.
    pool: String,
    /// How many.
    replicas: i64,
    /// Why; stored in the history.
    #[serde(default)]
    reason: String,
    /// How long to wait until the group is available, in seconds, 60 at most.
    #[serde(default)]
    wait_seconds: u64,
}

/// How something is to be done for a group.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct GroupRequest {
    /// Why; stored in the history.
    reason: String,
    /// How long to wait until the group is available, in seconds, 60 at most.
    wait_seconds: u64,
}

/// Which output is asked for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OutputRequest {
    /// Its name.
    output: String,
}

/// What was read of a member.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(crate) struct OutputText {
    /// What it said, without the end of its last line.
    value: String,
}

pub(super) fn changes() -> ApiRouter<Api> {
    let scales = "Set how many members a pool of a group has";
    let reads = "Show what was read of a member, secrets included";
    ApiRouter::new()
        .api_route(
            &format!("{ONE}/scale"),
            post_with(scale, about("scaleVirtualServerGroup", TAG, scales)),
        )
        .api_route(
            &format!("{ONE}/output"),
            post_with(output, about("readVirtualServerGroupOutput", TAG, reads)),
        )
}

/// Routes of actions that delete no member.
pub(super) fn operates() -> ApiRouter<Api> {
    let retries = "Try again what is stuck of the members of a group";
    ApiRouter::new().api_route(
        &format!("{ONE}/retry"),
        post_with(retry, about("retryVirtualServerGroup", TAG, retries)),
    )
}

async fn output(
    State(api): State<Api>,
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    JsonBody(request): JsonBody<OutputRequest>,
) -> Answer<OutputText> {
    let output = &request.output;
    let found = api
        .fleet()?
        .groups()
        .output(&namespace, &name, output)
        .await?;
    let value = String::from_utf8_lossy(found.expose()).into_owned();
    Ok(Json(OutputText { value }))
}

async fn scale(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    JsonBody(request): JsonBody<ScaleGroupRequest>,
) -> Answer<ActionResult> {
    let scales = ScaleRequest {
        namespace,
        name: format!("group/{name}"),
        pool: Some(request.pool),
        replicas: request.replicas,
        reason: request.reason,
    };
    Ok(Json(
        carry_out(&api, &caller, scales, request.wait_seconds).await?,
    ))
}

async fn retry(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    OptionalJsonBody(request): OptionalJsonBody<GroupRequest>,
) -> Answer<ActionResult> {
    let retries = ActRequest {
        names: vec![format!("group/{name}")],
        ..ActRequest::new(Act::Retry, &namespace, &request.reason)
    };
    Ok(Json(
        carry_out(&api, &caller, retries, request.wait_seconds).await?,
    ))
}
