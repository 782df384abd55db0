//! Actions on a VSI or a data disk.

use std::time::Duration;

use aide::axum::{
    ApiRouter,
    routing::{ApiMethodRouter, post_with},
};
use axum::{
    Extension, Json,
    extract::{Path, State},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use vsiflow_engine::{
    executor::{By, Cancelled, Retried},
    model::EntityId,
};
use vsiflow_workflows::{
    fleet::{Fleet, FleetError, ReplacementPlace, ShutdownPolicy, Verdict},
    record::PowerAction,
};

use super::resource::{ObjectPath, about};
use crate::json_body::OptionalJsonBody;
use crate::{Caller, Problem, api::Api};

/// The maximum time to wait for an outcome.
const WAIT: Duration = Duration::from_secs(60);

/// How something is to be done.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct ActionRequest {
    /// Why; stored in the history.
    pub(crate) reason: String,
    /// How long to wait for the outcome, in seconds, 60 at most.
    pub(crate) wait_seconds: u64,
    /// Seconds that a guest gets for an orderly end; `stop` and `restart` alone.
    pub(crate) grace_period_seconds: Option<u64>,
    /// End the guest immediately; `stop` and `restart` alone.
    pub(crate) force: bool,
    /// Delete the present boot disk before the new one is made, for a pool without room for both; `rebuild`
    /// alone.
    pub(crate) in_place: bool,
    /// The ID of the one change that is approved; `approve` alone. Without it, the one that waits.
    pub(crate) proposal: Option<String>,
}

/// The same for a deletion.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct DeleteQuery {
    /// Forget it, and leave everything on its host.
    pub(super) orphan: bool,
    /// Why; stored in the history.
    pub(super) reason: String,
    /// How long to wait for the outcome, in seconds, 60 at most.
    pub(super) wait_seconds: u64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Done")]
pub(crate) enum ActionEffect {
    /// It is recorded, and worked on.
    Recorded,
    /// There was nothing to do.
    NothingToDo,
}

impl From<Retried> for ActionEffect {
    fn from(retried: Retried) -> Self {
        match retried {
            Retried::NothingToDo => Self::NothingToDo,
            Retried::Signalled | Retried::Reopened => Self::Recorded,
        }
    }
}

/// How it came out, where that was decided in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "Outcome")]
pub(crate) enum AwaitedOutcome {
    /// It is as it is to be.
    Reached,
    /// It failed.
    Failed,
    /// Something has to be removed or decided first.
    Blocked,
    /// Somebody cancelled it.
    Cancelled,
}

/// What came of an action.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ActionResult {
    /// What was done at once.
    pub(crate) done: ActionEffect,
    /// The outcome, where somebody waited for it and it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<AwaitedOutcome>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Problem>,
}

impl ActionResult {
    pub(crate) fn of(done: ActionEffect) -> Self {
        Self {
            done,
            outcome: None,
            failure: None,
        }
    }

    fn outcome(self, verdict: &Verdict) -> Self {
        let (outcome, failure) = match verdict {
            Verdict::Reached => (AwaitedOutcome::Reached, None),
            Verdict::Cancelled => (AwaitedOutcome::Cancelled, None),
            Verdict::Failed(failure) => (AwaitedOutcome::Failed, Some(failure)),
            Verdict::Blocked(failure) => (AwaitedOutcome::Blocked, Some(failure)),
        };
        Self {
            outcome: Some(outcome),
            failure: failure.map(|failure| Problem::of(http::StatusCode::CONFLICT, failure)),
            ..self
        }
    }
}

#[derive(Clone, Copy)]
enum VsiAction {
    Power(PowerAction),
    Retry,
    Cancel,
    Approve,
    Rebuild,
}

impl VsiAction {
    /// Whether data of the VSI is lost by it.
    fn destroys(self) -> bool {
        matches!(self, Self::Rebuild)
    }
}

/// The actions: word, operation ID, summary, action.
const ACTIONS: &[(&str, &str, &str, VsiAction)] = &[
    (
        "start",
        "startVirtualServer",
        "Start a VSI",
        VsiAction::Power(PowerAction::Start),
    ),
    (
        "stop",
        "stopVirtualServer",
        "Shut a VSI down",
        VsiAction::Power(PowerAction::Stop),
    ),
    (
        "restart",
        "restartVirtualServer",
        "Shut a VSI down and start it again",
        VsiAction::Power(PowerAction::Restart),
    ),
    (
        "pause",
        "pauseVirtualServer",
        "Suspend a VSI",
        VsiAction::Power(PowerAction::Pause),
    ),
    (
        "unpause",
        "unpauseVirtualServer",
        "Let a suspended VSI continue",
        VsiAction::Power(PowerAction::Unpause),
    ),
    (
        "retry",
        "retryVirtualServer",
        "Try again what is blocked, delayed or failed",
        VsiAction::Retry,
    ),
    (
        "cancel",
        "cancelVirtualServer",
        "Stop the open run after the step in progress; what exists remains",
        VsiAction::Cancel,
    ),
    (
        "approve",
        "approveVirtualServer",
        "Approve the change that waits for approval",
        VsiAction::Approve,
    ),
    (
        "rebuild",
        "rebuildVirtualServer",
        "Make the boot disk again from its image",
        VsiAction::Rebuild,
    ),
];

pub(super) fn changes() -> ApiRouter<Api> {
    let rebuilds = ACTIONS.iter().filter(|(.., action)| action.destroys());
    rebuilds.fold(ApiRouter::new(), added)
}

/// Routes of the actions that destroy nothing.
pub(super) fn operates() -> ApiRouter<Api> {
    let each = ACTIONS.iter().filter(|(.., action)| !action.destroys());
    each.fold(ApiRouter::new(), added)
}

fn added(
    routes: ApiRouter<Api>,
    (word, id, summary, action): &(&str, &'static str, &'static str, VsiAction),
) -> ApiRouter<Api> {
    const VSI: &str = "/v1/namespaces/{namespace}/virtualservers/{name}";
    routes.api_route(&format!("{VSI}/{word}"), route(id, summary, *action))
}

fn route(id: &'static str, summary: &'static str, action: VsiAction) -> ApiMethodRouter<Api> {
    let act = move |State(api): State<Api>,
                    Extension(caller): Extension<Caller>,
                    Path(target): Path<ObjectPath>,
                    OptionalJsonBody(request): OptionalJsonBody<ActionRequest>| async move {
        act(&api, &caller, &target, action, &request)
            .await
            .map(Json)
    };
    post_with(act, about(id, "virtualservers", summary))
}

async fn act(
    api: &Api,
    caller: &Caller,
    target: &ObjectPath,
    action: VsiAction,
    request: &ActionRequest,
) -> Result<ActionResult, Problem> {
    let by = caller.by(&request.reason);
    let (done, entity) = record(api.fleet()?, target, action, request, by).await?;
    let wait = Duration::from_secs(request.wait_seconds);
    wait_for(api, ActionResult::of(done), &entity, wait).await
}

async fn record(
    fleet: &Fleet,
    target: &ObjectPath,
    action: VsiAction,
    request: &ActionRequest,
    by: By,
) -> Result<(ActionEffect, EntityId), FleetError> {
    let ObjectPath { namespace, name } = target;
    let how = ShutdownPolicy {
        timeout_s: request.grace_period_seconds,
        force: request.force,
    };
    match action {
        VsiAction::Power(power) => {
            let entity = fleet.vsis().power(namespace, name, power, how, by).await?;
            Ok((ActionEffect::Recorded, entity))
        }
        VsiAction::Rebuild => {
            let room = ReplacementPlace::of(request.in_place);
            let (entity, _) = fleet.vsis().rebuild(namespace, name, room, by).await?;
            Ok((ActionEffect::Recorded, entity))
        }
        VsiAction::Approve => {
            let done = approve(fleet, target, request, by).await?;
            Ok((done, fleet.vsis().find(namespace, name).await?))
        }
        VsiAction::Retry => {
            let entity = fleet.vsis().find(namespace, name).await?;
            let done = fleet.retry(entity.clone(), by).await?.into();
            Ok((done, entity))
        }
        VsiAction::Cancel => {
            let entity = fleet.vsis().find(namespace, name).await?;
            let done = match fleet.cancel(entity.clone(), by).await? {
                Cancelled::NothingToDo => ActionEffect::NothingToDo,
                Cancelled::Requested | Cancelled::OrdersVoided => ActionEffect::Recorded,
            };
            Ok((done, entity))
        }
    }
}

async fn approve(
    fleet: &Fleet,
    ObjectPath { namespace, name }: &ObjectPath,
    request: &ActionRequest,
    by: By,
) -> Result<ActionEffect, FleetError> {
    let Some(proposal) = &request.proposal else {
        let names = std::slice::from_ref(name);
        fleet.vsis().approve(namespace, names, by).await?;
        return Ok(ActionEffect::Recorded);
    };
    if fleet
        .vsis()
        .approve_this(namespace, name, proposal, by)
        .await?
    {
        Ok(ActionEffect::Recorded)
    } else {
        Ok(ActionEffect::NothingToDo)
    }
}

pub(super) async fn wait_for(
    api: &Api,
    result: ActionResult,
    entity: &EntityId,
    wait: Duration,
) -> Result<ActionResult, Problem> {
    if wait.is_zero() {
        return Ok(result);
    }
    match timeout(wait.min(WAIT), api.fleet()?.decided(entity)).await {
        Ok(verdict) => Ok(result.outcome(&verdict?)),
        Err(_) => Ok(result),
    }
}
