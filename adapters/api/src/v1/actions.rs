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
use vsiflow_engine::{executor::Retried, model::EntityId};
use vsiflow_workflows::fleet::{Fleet, ReplacementPlace, Verdict};

use super::resource::{ObjectPath, about};
use crate::json_body::OptionalJsonBody;
use crate::{Act, ActEffect, ActRequest, ActedObject, AwaitedOutcome, Caller, Problem, api::Api};

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
        let (outcome, failure) = AwaitedOutcome::of(verdict);
        Self {
            outcome: Some(outcome),
            failure,
            ..self
        }
    }
}

#[derive(Clone, Copy)]
enum VsiAction {
    Act(Act),
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
        VsiAction::Act(Act::Start),
    ),
    (
        "stop",
        "stopVirtualServer",
        "Shut a VSI down",
        VsiAction::Act(Act::Stop),
    ),
    (
        "restart",
        "restartVirtualServer",
        "Shut a VSI down and start it again",
        VsiAction::Act(Act::Restart),
    ),
    (
        "pause",
        "pauseVirtualServer",
        "Suspend a VSI",
        VsiAction::Act(Act::Pause),
    ),
    (
        "unpause",
        "unpauseVirtualServer",
        "Let a suspended VSI continue",
        VsiAction::Act(Act::Unpause),
    ),
    (
        "retry",
        "retryVirtualServer",
        "Try again what is blocked, delayed or failed",
        VsiAction::Act(Act::Retry),
    ),
    (
        "cancel",
        "cancelVirtualServer",
        "Stop the open run after the step in progress; what exists remains",
        VsiAction::Act(Act::Cancel),
    ),
    (
        "approve",
        "approveVirtualServer",
        "Approve the change that waits for approval",
        VsiAction::Act(Act::Approve),
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
    let fleet = api.fleet()?;
    let (done, entity) = match action {
        VsiAction::Act(act) => record(fleet, caller, target, act, request).await?,
        VsiAction::Rebuild => {
            let ObjectPath { namespace, name } = target;
            let (room, by) = (
                ReplacementPlace::of(request.in_place),
                caller.by(&request.reason),
            );
            let (entity, _) = fleet.vsis().rebuild(namespace, name, room, by).await?;
            (ActionEffect::Recorded, entity)
        }
    };
    let wait = Duration::from_secs(request.wait_seconds);
    wait_for(api, ActionResult::of(done), &entity, wait).await
}

async fn record(
    fleet: &Fleet,
    caller: &Caller,
    ObjectPath { namespace, name }: &ObjectPath,
    act: Act,
    request: &ActionRequest,
) -> Result<(ActionEffect, EntityId), Problem> {
    let acts = ActRequest {
        names: vec![format!("vsi/{name}")],
        grace_period_seconds: request.grace_period_seconds,
        force: request.force,
        proposal: request.proposal.clone(),
        ..ActRequest::new(act, namespace, &request.reason)
    };
    let entity = fleet.vsis().find(namespace, name).await?;
    let acted = Box::pin(acts.carry_out(fleet, caller)).await?;
    let done = match acted.into_iter().next() {
        Some(ActedObject {
            effect: ActEffect::Refused,
            problem: Some(problem),
            ..
        }) => return Err(problem),
        Some(ActedObject {
            effect: ActEffect::NothingToDo | ActEffect::NothingTakenBack,
            ..
        }) => ActionEffect::NothingToDo,
        _ => ActionEffect::Recorded,
    };
    Ok((done, entity))
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
