//! Actions on an entity: `retry` and `cancel`.

use std::time::Duration;

use http::Response;
use http_body::Body;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::time::timeout;
use vsiflow_engine::{
    executor::{By, Cancelled, Retried},
    model::{Actor, EntityId, Failure, Text, Who},
};
use vsiflow_workflows::fleet::Verdict;

use super::{GROUP, HttpAnswer, Refusal, RequestCaller, SubresourceState, VERSION, json};
use crate::kind::Subresource;

/// The maximum length of a body, in bytes.
const MAX_LEN: usize = 16 * 1024;
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for an outcome, at most.
const WAIT: Duration = Duration::from_secs(25);
/// How long recording the action may take.
const RECORDING: Duration = Duration::from_secs(10);

/// The body of an action.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct SpecPatch {
    /// The reason, which is stored in the history.
    pub(crate) reason: String,
    /// How long to wait for the outcome, in seconds.
    pub(crate) wait_seconds: u64,
}

/// The result of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ActionDone {
    /// What was blocked, delayed or failed is retried.
    Retried,
    /// The open run ends after the current step.
    CancelRequested,
    /// There was nothing to do.
    NothingToDo,
}

/// Reads a body; an empty one gives the default.
pub(super) async fn read<T, B>(body: B) -> Result<T, Refusal>
where
    T: Default + DeserializeOwned,
    B: Body + Unpin,
    B::Error: std::fmt::Display,
{
    if body.size_hint().lower() > MAX_LEN as u64 {
        return Err(Refusal::too_large(MAX_LEN));
    }
    // `Limited` boxes the error, which requires an owned type.
    let body = body.map_err(|error| std::io::Error::other(error.to_string()));
    let read = timeout(BODY_TIMEOUT, Limited::new(body, MAX_LEN).collect()).await;
    let read = read.map_err(|_| Refusal::slow())?;
    let bytes = read.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Refusal::too_large(MAX_LEN)
        } else {
            Refusal::body(&error.to_string())
        }
    });
    let bytes = bytes?.to_bytes();
    if bytes.is_empty() {
        Ok(T::default())
    } else {
        serde_json::from_slice(&bytes).map_err(|error| Refusal::body(&error.to_string()))
    }
}

/// Performs the action, and waits for its outcome if that is requested.
pub(super) async fn act(
    inner: &SubresourceState,
    (entity, namespace): (EntityId, &str),
    what: Subresource,
    patch: SpecPatch,
    caller: &RequestCaller,
) -> Result<Response<HttpAnswer>, Refusal> {
    let by = By {
        actor: Actor::Kubernetes(Who::new(caller.user.clone())),
        reason: Text::new(patch.reason),
    };
    let done = {
        let _turn = inner.turn(namespace).await?;
        let recorded = timeout(RECORDING, record(inner, &entity, what, by)).await;
        recorded.map_err(|_| Refusal::late())??
    };
    let wait = Duration::from_secs(patch.wait_seconds).min(WAIT);
    let verdict = if wait.is_zero() {
        None
    } else {
        timeout(wait, inner.fleet.decided(&entity)).await.ok()
    };
    Ok(json(&action_answer(done, verdict.transpose()?)))
}

async fn record(
    inner: &SubresourceState,
    entity: &EntityId,
    what: Subresource,
    by: By,
) -> Result<ActionDone, Refusal> {
    Ok(match what {
        Subresource::Cancel => match inner.fleet.cancel(entity.clone(), by).await? {
            Cancelled::NothingToDo => ActionDone::NothingToDo,
            Cancelled::Requested | Cancelled::OrdersVoided => ActionDone::CancelRequested,
        },
        _ => match inner.fleet.retry(entity.clone(), by).await? {
            Retried::NothingToDo => ActionDone::NothingToDo,
            _ => ActionDone::Retried,
        },
    })
}

fn action_answer(done: ActionDone, verdict: Option<Verdict>) -> serde_json::Value {
    let (verdict, failure) = match verdict {
        None => (None, None),
        Some(Verdict::Reached) => (Some("Reached"), None),
        Some(Verdict::Cancelled) => (Some("Cancelled"), None),
        Some(Verdict::Failed(failure)) => (Some("Failed"), Some(failure)),
        Some(Verdict::Blocked(failure)) => (Some("Blocked"), Some(failure)),
    };
    json!({
        "kind": "ActionResult",
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "done": done,
        "verdict": verdict,
        "failure": failure.as_ref().map(failure_of),
    })
}

pub(super) fn failure_of(failure: &Failure) -> serde_json::Value {
    json!({
        "code": failure.code.to_string(),
        "message": failure.message.to_string(),
        "host": failure.host.to_string(),
        "object": failure.object.to_string(),
        "remedy": failure.remedy.to_string(),
    })
}
