//! The routes of hosts, and of the global pause.

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::{
    Extension, Json,
    extract::{Path, Query, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::fleet::DrainedVsi;

use super::{
    actions::{ActionEffect, ActionRequest, ActionResult},
    resource::{Answer, AtQuery, about},
};
use crate::json_body::OptionalJsonBody;
use crate::{
    Act, ActEffect, ActRequest, Caller, HostAct, MaintainHostRequest, ServiceRequest, api::Api,
    problem::Problem,
};

/// A host.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
struct HostName {
    /// Its ID, with its slashes encoded.
    host: String,
}

/// How a host comes back.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct UncordonRequest {
    /// Why; stored in the history.
    reason: String,
    /// Start the VSIs that a drain shut down.
    start: bool,
}

/// How a host is emptied.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct DrainRequest {
    /// Why; stored in the history.
    reason: String,
    /// How long to wait for the outcome; not used.
    wait_seconds: u64,
    /// Seconds that a guest gets for an orderly end.
    grace_period_seconds: Option<u64>,
    /// End guests immediately.
    force: bool,
    /// Make members of pools on other hosts.
    #[serde(rename = "move")]
    moves: bool,
    /// Shut the VSIs down; with `move` those that cannot be moved. Without `move` always.
    stop: bool,
    /// With `move`: say what would be moved, and change nothing.
    dry_run: bool,
}

/// The VSIs that an action reaches.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Reached {
    /// Their entities, as `vsi/UID`; of members that are moved their pools, as `pool/UID`.
    entities: Vec<String>,
    /// What is done about each VSI of a host, where members are moved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    vsis: Vec<DrainedVsi>,
}

/// Whether everything is paused.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "GlobalPause")]
struct PauseShown {
    /// Whether it is on.
    on: bool,
    /// Why, where it is.
    message: String,
}

const TAG: &str = "hosts";

pub(super) fn view_routes() -> ApiRouter<Api> {
    ApiRouter::new().api_route(
        "/v1/pause",
        get_with(paused, about("getPause", "engine", "Show the global pause")),
    )
}

pub(super) fn changes() -> ApiRouter<Api> {
    ApiRouter::new()
        .api_route(
            "/v1/hosts/{host}/cordon",
            post_with(
                cordon,
                about("cordonHost", TAG, "Stop placing new VSIs on a host"),
            ),
        )
        .api_route(
            "/v1/hosts/{host}/uncordon",
            post_with(
                uncordon,
                about("uncordonHost", TAG, "Accept new VSIs on a host again"),
            ),
        )
        .api_route(
            "/v1/hosts/{host}/drain",
            post_with(
                drain,
                about(
                    "drainHost",
                    TAG,
                    "Cordon a host and move or shut down its VSIs",
                ),
            ),
        )
        .api_route(
            "/v1/pause",
            post_with(pause, about("pause", "engine", "Start no step on any host")),
        )
        .api_route(
            "/v1/unpause",
            post_with(unpause, about("unpause", "engine", "End the global pause")),
        )
}

async fn paused(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<AtQuery>,
) -> Answer<PauseShown> {
    let why = api.fleets_at(&caller, query.at).await?.global_pause();
    Ok(Json(PauseShown {
        on: why.is_some(),
        message: why.map(|why| why.message.to_string()).unwrap_or_default(),
    }))
}

async fn cordon(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(at): Path<HostName>,
    OptionalJsonBody(request): OptionalJsonBody<ActionRequest>,
) -> Answer<ActionResult> {
    let cordons = MaintainHostRequest::new(HostAct::Cordon, &at.host, &request.reason);
    maintained(&api, &caller, cordons).await?;
    Ok(Json(ActionResult::of(ActionEffect::Recorded)))
}

async fn uncordon(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(at): Path<HostName>,
    OptionalJsonBody(request): OptionalJsonBody<UncordonRequest>,
) -> Answer<Reached> {
    let uncordons = MaintainHostRequest {
        start: request.start,
        ..MaintainHostRequest::new(HostAct::Uncordon, &at.host, &request.reason)
    };
    Ok(Json(maintained(&api, &caller, uncordons).await?))
}

async fn drain(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(at): Path<HostName>,
    OptionalJsonBody(request): OptionalJsonBody<DrainRequest>,
) -> Answer<Reached> {
    let drains = MaintainHostRequest {
        stop: request.stop || !request.moves,
        moves: request.moves,
        dry_run: request.dry_run,
        grace_period_seconds: request.grace_period_seconds,
        force: request.force,
        ..MaintainHostRequest::new(HostAct::Drain, &at.host, &request.reason)
    };
    Ok(Json(maintained(&api, &caller, drains).await?))
}

async fn maintained(
    api: &Api,
    caller: &Caller,
    request: MaintainHostRequest,
) -> Result<Reached, Problem> {
    if caller.rights < request.needs() {
        return Err(caller.refused());
    }
    let answer = Box::pin(request.answer(api, caller)).await?;
    let worked_on = answer.objects.iter();
    let worked_on = worked_on.filter(|object| object.effect == ActEffect::Recorded);
    let entities = worked_on.map(|object| format!("{}/{}", object.kind.word(), object.uid));
    Ok(Reached {
        entities: entities.collect(),
        vsis: answer.drained,
    })
}

async fn pause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    OptionalJsonBody(request): OptionalJsonBody<ActionRequest>,
) -> Answer<ActionResult> {
    set_global_pause(&api, &caller, Act::PauseAll, &request.reason).await
}

async fn unpause(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    OptionalJsonBody(request): OptionalJsonBody<ActionRequest>,
) -> Answer<ActionResult> {
    set_global_pause(&api, &caller, Act::UnpauseAll, &request.reason).await
}

async fn set_global_pause(
    api: &Api,
    caller: &Caller,
    act: Act,
    reason: &str,
) -> Answer<ActionResult> {
    let answer = api.call(caller, ActRequest::new(act, "", reason)).await?;
    if let Some(problem) = answer.problems.into_iter().next() {
        return Err(problem);
    }
    Ok(Json(ActionResult::of(ActionEffect::Recorded)))
}
