//! Waits for the VSI's turn in a rollout.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{EntityId, Failure},
    step::{Done, Observed, ReconcileStatus, Step, StepContext},
};

use crate::error;

/// Poll interval; the polled state is in memory.
const POLL: Duration = Duration::from_millis(100);

/// Waits until the rollout predecessor has reached its desired state.
///
/// The step asks no host and changes nothing, so a crash during it leaves nothing; the next attempt
/// checks again. If the predecessor failed, the rollout stops here.
pub struct AwaitTurn;

/// Parameters of [`AwaitTurn`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The rollout predecessor, as `KIND/ID`.
    pub after: String,
    /// The predecessor's name for people.
    pub name: String,
    /// Whether this VSI continues if the predecessor failed.
    #[serde(default)]
    pub continue_on_failure: bool,
}

/// No output.
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

/// Whether the predecessor has ended; an error if its end stops this VSI.
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
