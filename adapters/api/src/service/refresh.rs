//! The request that scans hosts.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{JournalUse, Operation, ServiceRequest};
use crate::{Caller, Problem, Rights, api::Api};

/// Asks for a scan of all hosts. How VSIs differ from what vsiflow wrote is recorded, and nothing is acted on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshRequest {}

/// What a scan found of the hosts themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefreshedHosts {
    /// The hosts that could not be scanned.
    pub unreachable: Vec<UnreachableHost>,
}

/// A host that could not be scanned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UnreachableHost {
    /// The host.
    pub host: String,
    /// Why, with the documented code.
    pub reason: String,
}

impl ServiceRequest for RefreshRequest {
    type Answer = RefreshedHosts;
    const OPERATION: Operation = Operation {
        id: "refreshHosts",
        path: "/v1/refresh",
        summary: "Scan all hosts, and record how VSIs differ from what was written",
    };
    const NEEDS: Rights = Rights::Operate;
    const USE: JournalUse = JournalUse::Record;

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<RefreshedHosts, Problem> {
        let report = api.fleet()?.hosts().scan(false).await?;
        let unreachable = report.unreachable.into_iter();
        Ok(RefreshedHosts {
            unreachable: unreachable
                .map(|(host, failure)| UnreachableHost {
                    host,
                    reason: failure.to_string(),
                })
                .collect(),
        })
    }
}
