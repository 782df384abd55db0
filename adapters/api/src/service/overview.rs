//! The request for the fleet at one moment.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::journal::Offset;
use vsiflow_workflows::fleet::FleetOverview;

use super::{Operation, ServiceRequest};
use crate::{Caller, Problem, Rights, api::Api};

/// Asks for VSIs, steps that are not done, uploads and hosts, as they are now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct OverviewRequest {
    /// Count the steps that ended since this offset.
    pub from: Option<Offset>,
}

impl ServiceRequest for OverviewRequest {
    type Answer = FleetOverview;
    const OPERATION: Operation = Operation {
        id: "getOverview",
        path: "/v1/overview",
        summary: "Show VSIs, steps that are not done, uploads and hosts as they are now",
    };
    const NEEDS: Rights = Rights::Look;

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<FleetOverview, Problem> {
        Ok(api.fleet()?.overview(self.from).await?)
    }
}
