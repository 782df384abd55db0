//! Waits until no run works on a snapshot any more.

use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{EntityId, Failure},
    step::{Done, Observed, Step, StepContext},
};

use crate::error;

/// Poll interval; the polled state is in memory.
const POLL: Duration = Duration::from_millis(50);

/// Waits for the end of a snapshot's run, whatever its result: until then one of its steps may copy the
/// VSI's disks. Another change of the VSI cancelled the snapshot, so its run ends after the current step.
///
/// The step only reads the journal, so a crash during it leaves nothing; the next attempt waits again.
pub struct AwaitSnapshot;

/// Parameters of [`AwaitSnapshot`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The snapshot's entity, as `KIND/ID`.
    pub entity: String,
    /// The snapshot's name for people.
    pub name: String,
}

/// No output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {}

#[async_trait]
impl Step for AwaitSnapshot {
    const NAME: &'static str = "await_snapshot";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(if !is_worked_on(cx, params) {
            Observed::Present(Output {})
        } else {
            Observed::Needed
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        cx.report(&format!("waiting for snapshot {}", params.name), 0, None);
        while is_worked_on(cx, params) {
            tokio::select! {
                biased;
                () = cx.stopped.cancelled() => {
                    return Err(error::OUTCOME_UNKNOWN.failure("stopped waiting for the snapshot"));
                }
                () = tokio::time::sleep(POLL) => {}
            }
        }
        Ok(Done::present(Output {}))
    }
}

fn is_worked_on(cx: &StepContext, params: &Params) -> bool {
    let id: Option<EntityId> = params.entity.parse().ok();
    id.is_some_and(|id| cx.recorded.has_open_run(&id))
}
