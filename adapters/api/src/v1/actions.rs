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
use tokio::time::Instant;

use super::resource::{ObjectPath, about};
use crate::json_body::OptionalJsonBody;
use crate::{
    Act, ActAnswer, ActEffect, ActRequest, AwaitedObject, AwaitedOutcome, Caller, ObjectOutcome,
    OutcomesRequest, Problem, RebuildRequest, RebuildTarget, ServiceRequest, api::Api,
};

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

    /// With the first outcome that is not the one that was asked for, or else that one.
    fn decided(self, outcomes: Vec<ObjectOutcome>) -> Self {
        let is_reached =
            |outcome: &&ObjectOutcome| outcome.outcome == Some(AwaitedOutcome::Reached);
        let first_other = outcomes.iter().find(|outcome| !is_reached(outcome));
        let decisive = first_other
            .or(outcomes.first())
            .cloned()
            .unwrap_or_default();
        Self {
            outcome: decisive.outcome,
            failure: decisive.failure,
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
    ObjectPath { namespace, name }: &ObjectPath,
    action: VsiAction,
    request: &ActionRequest,
) -> Result<ActionResult, Problem> {
    let (name, wait) = (format!("vsi/{name}"), request.wait_seconds);
    match action {
        VsiAction::Act(act) => {
            let acts = ActRequest {
                names: vec![name],
                grace_period_seconds: request.grace_period_seconds,
                force: request.force,
                proposal: request.proposal.clone(),
                ..ActRequest::new(act, namespace, &request.reason)
            };
            carry_out(api, caller, acts, wait).await
        }
        VsiAction::Rebuild => {
            let rebuilds = RebuildRequest {
                namespace: namespace.clone(),
                vsis: vec![RebuildTarget { name, uid: None }],
                in_place: request.in_place,
                reason: request.reason.clone(),
            };
            carry_out(api, caller, rebuilds, wait).await
        }
    }
}

/// Has a request about one object answered, for a caller with the rights, and waits for the outcome.
pub(super) async fn carry_out<R: ServiceRequest<Answer = ActAnswer>>(
    api: &Api,
    caller: &Caller,
    request: R,
    wait_seconds: u64,
) -> Result<ActionResult, Problem> {
    let ActAnswer {
        objects, problems, ..
    } = Box::pin(request.answer(api, caller)).await?;
    if let Some(problem) = problems.into_iter().next() {
        return Err(problem);
    }
    let mut result = ActionResult::of(ActionEffect::NothingToDo);
    let mut awaited = Vec::new();
    for object in objects {
        match object.effect {
            ActEffect::Refused => return Err(object.problem.unwrap_or_else(Problem::view_only)),
            ActEffect::MakesAgain => continue,
            ActEffect::NothingToDo | ActEffect::NothingTakenBack => {}
            _ => result.done = ActionEffect::Recorded,
        }
        if !object.uid.is_empty() {
            awaited.push(AwaitedObject {
                kind: object.kind,
                uid: object.uid,
                journal: object.journal,
            });
        }
    }
    with_outcome(api, caller, result, awaited, wait_seconds).await
}

/// Waits for the outcomes of these objects.
pub(super) async fn with_outcome(
    api: &Api,
    caller: &Caller,
    result: ActionResult,
    awaited: Vec<AwaitedObject>,
    wait_seconds: u64,
) -> Result<ActionResult, Problem> {
    let until = Instant::now() + Duration::from_secs(wait_seconds).min(WAIT);
    while !awaited.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let outcomes = OutcomesRequest {
            objects: awaited.clone(),
            wait_seconds: left.as_secs().max(1),
            warnings: false,
        };
        let outcomes = Box::pin(outcomes.answer(api, caller)).await?.outcomes;
        if outcomes.iter().all(|one| one.outcome.is_some()) {
            return Ok(result.decided(outcomes));
        }
    }
    Ok(result)
}
