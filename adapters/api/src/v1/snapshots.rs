//! The routes of snapshots.

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
use vsiflow_engine::model::EntityId;
use vsiflow_workflows::{fleet::SnapshotRequest, kinds::ObjectKind, plan::Plan};

use super::{
    actions::{ActionEffect, ActionResult, carry_out, with_outcome},
    resource::{Answer, ObjectPath, about},
};
use crate::json_body::OptionalJsonBody;
use crate::{AwaitedObject, Caller, Problem, Restoration, RestoreSnapshotRequest, api::Api};

const TAG: &str = "virtualserversnapshots";
const ONE: &str = "/v1/namespaces/{namespace}/virtualserversnapshots/{name}";
const OF_VSI: &str = "/v1/namespaces/{namespace}/virtualservers/{name}/snapshots";

/// How a snapshot is taken.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct TakeRequest {
    /// Its name [default: the VSI's name with the next number].
    name: Option<String>,
    /// Save the memory of a guest that runs, too; it stands still until that is written.
    memory: bool,
    /// Have the guest's agent hold its file systems still for that moment.
    quiesce: bool,
    /// Why; stored in the history.
    reason: String,
    /// How long to wait for the outcome, in seconds, 60 at most.
    wait_seconds: u64,
}

/// How a VSI is put back.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(crate) struct RestoreRequest {
    /// Leave out the memory of the snapshot: the guest boots from the disks.
    disks_only: bool,
    /// Restore copies without a check of their recorded hashes, or with none on record.
    unverified: bool,
    /// Delete the present disks before their copies are put back, for pools without room for both.
    in_place: bool,
    /// Why; stored in the history.
    reason: String,
    /// How long to wait for the outcome, in seconds, 60 at most.
    wait_seconds: u64,
}

/// A snapshot that is being taken.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Taken {
    /// Its name.
    name: String,
    /// What came of it.
    #[serde(flatten)]
    result: ActionResult,
}

/// What a restoration does, and what it leaves out.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct RestorationPlan {
    #[serde(flatten)]
    plan: Plan,
    /// The disks of the snapshot that its VSI does not have any more, as `disk/NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    not_restored: Vec<String>,
}

pub(super) fn view_routes() -> ApiRouter<Api> {
    let plans =
        "Show what is lost where a VSI is put back to a snapshot, without changing anything";
    ApiRouter::new().api_route(
        &format!("{ONE}/restore"),
        get_with(plan, about("planVirtualServerSnapshotRestore", TAG, plans)),
    )
}

pub(super) fn changes() -> ApiRouter<Api> {
    let takes = "Take a snapshot of a VSI's disks";
    let restores = "Put a VSI back as a snapshot has it";
    ApiRouter::new()
        .api_route(
            OF_VSI,
            post_with(take, about("takeVirtualServerSnapshot", TAG, takes)),
        )
        .api_route(
            &format!("{ONE}/restore"),
            post_with(
                restore,
                about("restoreVirtualServerSnapshot", TAG, restores),
            ),
        )
}

async fn plan(
    State(api): State<Api>,
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    Query(how): Query<Restoration>,
) -> Answer<RestorationPlan> {
    let snapshots = api.fleet()?.snapshots();
    let (_, plan) = snapshots
        .plan_restore(&namespace, &name, how.into())
        .await?;
    let not_restored = snapshots.not_restored(&namespace, &name).await?;
    Ok(Json(RestorationPlan { plan, not_restored }))
}

async fn take(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    OptionalJsonBody(request): OptionalJsonBody<TakeRequest>,
) -> Answer<Taken> {
    let by = caller.by(&request.reason);
    let wait_seconds = request.wait_seconds;
    let request = SnapshotRequest {
        name: request.name,
        uid: None,
        memory: request.memory,
        quiesce: request.quiesce,
    };
    let taken = api
        .fleet()?
        .snapshots()
        .take(&namespace, &name, request, by);
    let taken = taken.await?;
    Ok(Json(Taken {
        name: taken.name,
        result: recorded(&api, &caller, &taken.vsi, wait_seconds).await?,
    }))
}

async fn restore(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(ObjectPath { namespace, name }): Path<ObjectPath>,
    OptionalJsonBody(request): OptionalJsonBody<RestoreRequest>,
) -> Answer<ActionResult> {
    let restores = RestoreSnapshotRequest {
        namespace,
        name,
        uid: None,
        how: Restoration {
            disks_only: request.disks_only,
            unverified: request.unverified,
            in_place: request.in_place,
        },
        reason: request.reason,
    };
    Ok(Json(
        carry_out(&api, &caller, restores, request.wait_seconds).await?,
    ))
}

/// What was recorded for a VSI, and its outcome if that is decided within this time.
async fn recorded(
    api: &Api,
    caller: &Caller,
    vsi: &EntityId,
    wait_seconds: u64,
) -> Result<ActionResult, Problem> {
    let awaited = AwaitedObject {
        kind: ObjectKind::Vsi,
        uid: vsi.id().to_owned(),
        journal: None,
    };
    let result = ActionResult::of(ActionEffect::Recorded);
    with_outcome(api, caller, result, vec![awaited], wait_seconds).await
}
