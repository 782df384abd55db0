//! The request for what differs in an object between two moments.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::{
    fleet::{Difference, FleetError, Fleets, Moment, differences_of},
    kinds::ObjectKind,
};

use super::{
    Operation, ServiceRequest,
    reading::{AsOf, as_of, default_namespace, reading_of},
};
use crate::{Caller, Problem, Rights, api::Api};

/// Asks what differs in an object between two moments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DiffRequest {
    /// The kind.
    pub kind: ObjectKind,
    /// The namespace; no kind but those with namespaces has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The name, also as `NAMESPACE/NAME`.
    pub name: String,
    /// The earlier moment: after the event of this offset, or at this time (RFC 3339) [default: the journal's first
    /// event].
    #[serde(default)]
    pub from: Option<Moment>,
    /// The later one [default: now].
    #[serde(default)]
    pub to: Option<Moment>,
}

/// What differs in an object between two moments.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Differences {
    /// Each field that differs.
    pub differences: Vec<Difference>,
    /// The earlier moment; none before the first event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<AsOf>,
    /// The later moment, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<AsOf>,
}

impl ServiceRequest for DiffRequest {
    type Answer = Differences;
    const OPERATION: Operation = Operation {
        id: "diffObject",
        path: "/v1/diff",
        summary: "Show what differs in an object of any kind between two moments",
    };
    const NEEDS: Rights = Rights::Look;

    fn needs(&self) -> Rights {
        reading_of(self.kind)
    }

    fn asks_hosts(&self) -> bool {
        self.kind.asks_hosts()
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<Differences, Problem> {
        let from = match self.from {
            Some(from) => from,
            None => first_moment(api).await?,
        };
        let before = api.fleets_at(caller, Some(from)).await?;
        let after = api.fleets_at(caller, self.to).await?;
        let (from, to) = (
            as_of(&before, Some(from)).await?,
            as_of(&after, self.to).await?,
        );
        let object = async |fleets: Arc<Fleets>| {
            let listed = self.kind.get(&fleets, &self.namespace, &self.name).await?;
            listed
                .to_json()
                .map_err(|error| FleetError::defect(error.to_string()))
        };
        let differences = differences_of(object(before).await, object(after).await)?;
        Ok(Differences {
            differences,
            from,
            to,
        })
    }
}

/// The first moment of the journals.
async fn first_moment(api: &Api) -> Result<Moment, Problem> {
    let fleets = api.fleets().await?;
    match fleets.first_event().await? {
        Some(time) if fleets.are_several() => Ok(Moment::Time(time)),
        _ => Ok(Moment::Offset(0)),
    }
}
