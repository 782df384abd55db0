//! Waits until the networks of a VSI are made.

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

const NETWORKS: AwaitedKind = AwaitedKind {
    what: "network",
    word: "network",
    in_use: error::NETWORK_IN_USE,
    not_made: error::NETWORK_NOT_MADE,
};

/// Waits for the runs of networks, which are entities.
///
/// The step only reads the journal, so a crash during it leaves nothing; the next attempt waits again. A
/// network whose run is blocked blocks this step with the same message. A network whose deletion waits
/// still exists; whether it can be used is checked on the host.
pub struct AwaitNetworks;

/// Parameters of [`AwaitNetworks`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The networks.
    pub networks: Vec<Awaited>,
}

/// No output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {}

#[async_trait]
impl Step for AwaitNetworks {
    const NAME: &'static str = "await_networks";
    type Params = Params;
    type Output = Output;

    async fn observe(
        &self,
        cx: &StepContext,
        params: &Params,
    ) -> Result<Observed<Output>, Failure> {
        Ok(match NETWORKS.pending(&cx.recorded, &params.networks)? {
            None => Observed::Present(Output {}),
            Some(_) => Observed::Needed,
        })
    }

    async fn run(&self, cx: &StepContext, params: &Params) -> Result<Done<Output>, Failure> {
        NETWORKS.wait(cx, &params.networks).await?;
        Ok(Done::present(Output {}))
    }
}
