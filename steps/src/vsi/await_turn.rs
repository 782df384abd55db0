//! Waits for the VSI's turn where one change concerns many.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{EntityId, Failure},
    step::{Done, Observed, ReconcileStatus, Step, StepContext},
};

use crate::error;

/// How often is looked; what is looked at lies in memory.
const POLL: Duration = Duration::from_millis(100);

/// Waits until the entity before this one has come to its desired state.
///
/// It asks no host and changes nothing, so a crash in its middle leaves nothing; the next attempt
/// looks again. Where the one before failed, the roll-out stops here.
pub struct AwaitTurn;

/// What [`AwaitTurn`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The entity whose turn comes before, as `KIND/ID`.
    pub after: String,
    /// What people call it.
    pub name: String,
    /// Whether this one continues where that one failed.
    #[serde(default)]
    pub continue_on_failure: bool,
}

/// What [`AwaitTurn`] waited for: nothing that others need to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {}

#[async_trait]
impl Step for AwaitTurn {
    const NAME: &'static str = "await_turn";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(if is_over(cx, params)? {
            Observed::Present(Output {})
        } else {
            Observed::Needed
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        cx.report(&format!("waiting for {}", params.name), 0, None);
        while !is_over(cx, params)? {
            tokio::select! {
                biased;
                () = cx.stopped.cancelled() => {
                    return Err(error::OUTCOME_UNKNOWN.failure("stopped waiting for its turn"));
                }
                () = tokio::time::sleep(POLL) => {}
            }
        }
        Ok(Done::present(Output {}))
    }
}

/// Whether the one before has come to its end; an error where that stops this one.
fn is_over(cx: &StepContext, params: &Params) -> Result<bool, Failure> {
    let id: Option<EntityId> = params.after.parse().ok();
    match id.and_then(|id| cx.recorded.status_of(&id)) {
        None | Some(ReconcileStatus::Settled) => Ok(true),
        Some(ReconcileStatus::UnderWay) => Ok(false),
        Some(_) if params.continue_on_failure => Ok(true),
        Some(ReconcileStatus::Cancelled) => Err(stopped(params, "was cancelled")),
        Some(ReconcileStatus::Failed(failure) | ReconcileStatus::Blocked(failure)) => {
            Err(stopped(params, &failure.to_string()))
        }
    }
}

fn stopped(params: &Params, why: &str) -> Failure {
    let name = &params.name;
    let message = format!("the roll-out has stopped: {name}, whose turn was before: {why}");
    error::ROLLOUT_STOPPED
        .failure(message)
        .of_object(format!("vsi/{name}"))
}
