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

/// Waits for the runs of networks, which are entities of their own.
///
/// It only reads the journal: a crash in its middle leaves nothing, and the next attempt waits on.
/// A network whose run is blocked blocks this step with the same words; one that waits to be deleted
/// is still there, and whether it can be used is seen on the host.
pub struct AwaitNetworks;

/// What [`AwaitNetworks`] is told.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Params {
    /// The networks.
    pub networks: Vec<Awaited>,
}

/// Nothing.
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
