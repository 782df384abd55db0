//! Waits until the data disks of a VSI are made.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use vsiflow_engine::{
    model::Failure,
    step::{Done, Observed, Step, StepContext},
};

use crate::{
    awaited::{Awaited, AwaitedKind},
    error,
};

const DATA_DISKS: AwaitedKind = AwaitedKind {
    what: "data disk",
    word: "disk",
    in_use: error::IN_USE,
    not_made: error::DISK_NOT_MADE,
};

/// Waits for the runs of data disks, which are entities.
///
/// The step only reads the journal, so a crash during it leaves nothing; the next attempt waits again. A
/// disk whose run is blocked blocks this step with the same message. A disk whose deletion waits still
/// exists; whether it can be attached is checked on the host.
pub struct AwaitDataDisks;

/// Parameters of [`AwaitDataDisks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The disks.
    pub disks: Vec<Awaited>,
}

/// No output.
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
        Ok(match DATA_DISKS.pending(&cx.recorded, &params.disks)? {
            None => Observed::Present(Output {}),
            Some(_) => Observed::Needed,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        DATA_DISKS.wait(cx, &params.disks).await?;
        Ok(Done::present(Output {}))
    }
}
