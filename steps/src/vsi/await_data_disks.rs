//! Waits until the data disks of a VSI are made.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::{EntityId, Failure},
    step::{Done, Observed, ReconcileStatus, Recorded, Step, StepContext},
};

use crate::error;

const POLL: Duration = Duration::from_millis(50);

/// Waits for the runs of data disks, which are entities of their own.
///
/// It only reads the journal: a crash in its middle leaves nothing, and the next attempt waits on.
/// A disk whose run is blocked blocks this step with the same words; one that waits to be deleted
/// is still there, and whether it can be attached is seen on the host.
pub struct AwaitDataDisks;

/// What [`AwaitDataDisks`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The disks.
    pub disks: Vec<Awaited>,
}

/// A disk that is waited for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Awaited {
    /// Its entity, as `KIND/ID`.
    pub entity: String,
    /// What people call it.
    pub name: String,
}

/// Nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {}

#[async_trait]
impl Step for AwaitDataDisks {
    const NAME: &'static str = "await_data_disks";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(match pending(&cx.recorded, params)? {
            None => Observed::Present(Output {}),
            Some(_) => Observed::Needed,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        while let Some(name) = pending(&cx.recorded, params)? {
            cx.report(&format!("waiting for data disk {name}"), 0, None);
            tokio::select! {
                biased;
                () = cx.stopped.cancelled() => {
                    return Err(error::OUTCOME_UNKNOWN.failure("stopped waiting for data disks"));
                }
                () = tokio::time::sleep(POLL) => {}
            }
        }
        Ok(Done::present(Output {}))
    }
}

/// The first disk that is under way; an error where one cannot be made.
fn pending<'a>(
    recorded: &Arc<dyn Recorded>,
    params: &'a Params,
) -> Result<Option<&'a str>, Failure> {
    for disk in &params.disks {
        let id: Option<EntityId> = disk.entity.parse().ok();
        match id.and_then(|id| recorded.standing(&id)) {
            None | Some(ReconcileStatus::Settled) => {}
            Some(ReconcileStatus::UnderWay) => return Ok(Some(&disk.name)),
            Some(ReconcileStatus::Cancelled) => return Err(not_made(disk, "it was cancelled")),
            Some(ReconcileStatus::Failed(failure) | ReconcileStatus::Blocked(failure)) => {
                if failure.code.as_str() != error::IN_USE.code {
                    return Err(not_made(disk, &failure.to_string()));
                }
            }
        }
    }
    Ok(None)
}

fn not_made(disk: &Awaited, why: &str) -> Failure {
    let message = format!("data disk {} is not made: {why}", disk.name);
    error::DISK_NOT_MADE
        .failure(message)
        .of_object(format!("disk/{}", disk.name))
}
