//! Requests for what happened: pages of events, and the graph of an object.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::fleet::{EventsPage, EventsQuery, ObjectGraph};

use super::{Operation, ServiceRequest, reading::default_namespace};
use crate::{Caller, Problem, Rights, api::Api};

/// Asks for a page of events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct EventsRequest(pub EventsQuery);

/// Asks for the newest run of an object with its steps; of a pool or a group, for its members.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GraphRequest {
    /// The object's namespace.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The object, such as `web` or `pool/web`.
    pub name: String,
}

/// The graph of an object; none if it has no run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DrawnObject {
    /// The graph.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub graph: Option<ObjectGraph>,
}

impl ServiceRequest for EventsRequest {
    type Answer = EventsPage;
    const OPERATION: Operation = Operation {
        id: "listEvents",
        path: "/v1/history",
        summary: "List events of an object or of everything, page by page",
    };
    const NEEDS: Rights = Rights::Look;

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<EventsPage, Problem> {
        Ok(Box::pin(api.fleets().await?.events_page(&self.0)).await?)
    }
}

impl ServiceRequest for GraphRequest {
    type Answer = DrawnObject;
    const OPERATION: Operation = Operation {
        id: "getGraph",
        path: "/v1/graph",
        summary: "Show the steps of an object's newest run, or its members",
    };
    const NEEDS: Rights = Rights::Look;

    async fn answer(self, api: &Api, _caller: &Caller) -> Result<DrawnObject, Problem> {
        let fleets = api.fleets().await?;
        let graph = Box::pin(fleets.graph(&self.namespace, &self.name)).await?;
        Ok(DrawnObject { graph })
    }
}
