//! Requests that read: lists, and descriptions of single objects.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_engine::journal::Offset;
use vsiflow_workflows::{
    fleet::{Fleets, Moment},
    kinds::{Description, ObjectKind, ObjectTable, TableQuery},
};

use super::{Operation, ServiceRequest};
use crate::{Caller, Problem, Rights, api::Api};

/// Asks for a list of objects of a kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TableRequest {
    /// The kind.
    pub kind: ObjectKind,
    /// Which objects, and what of them.
    #[serde(default)]
    pub query: TableQuery,
    /// After the event of this offset, or at this time (RFC 3339) [default: now].
    #[serde(default)]
    pub at: Option<Moment>,
}

impl TableRequest {
    /// A request for objects as they are now.
    pub fn now(kind: ObjectKind, query: TableQuery) -> Self {
        let at = None;
        Self { kind, query, at }
    }
}

/// A list of objects.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListedObjects {
    /// The objects.
    pub table: ObjectTable,
    /// The moment of which they are, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<AsOf>,
    /// Why nothing is worked on, if everything is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
}

/// The moment of the past that an answer shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AsOf {
    /// The offset of the newest event; none of several journals, which have no common offsets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<Offset>,
    /// When the newest event was recorded, RFC 3339.
    pub time: String,
    /// How many journals are shown.
    pub journals: usize,
}

/// Asks for everything known about an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DescribeRequest {
    /// The kind.
    pub kind: ObjectKind,
    /// The namespace; no kind but those with namespaces has one.
    #[serde(default = "default_namespace")]
    pub namespace: String,
    /// The name, also as `NAMESPACE/NAME`.
    pub name: String,
    /// After the event of this offset, or at this time (RFC 3339) [default: now].
    #[serde(default)]
    pub at: Option<Moment>,
}

/// Everything known about an object.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DescribedObject {
    /// The description.
    pub description: Description,
    /// The moment of which it is, if one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<AsOf>,
}

impl ServiceRequest for TableRequest {
    type Answer = ListedObjects;
    const OPERATION: Operation = Operation {
        id: "listObjects",
        path: "/v1/table",
        summary: "List objects of any kind as rows of a table",
    };
    const NEEDS: Rights = Rights::Look;

    fn needs(&self) -> Rights {
        reading_of(self.kind)
    }

    fn asks_hosts(&self) -> bool {
        self.kind.asks_hosts()
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<ListedObjects, Problem> {
        let fleets = api.fleets_at(caller, self.at).await?;
        Ok(ListedObjects {
            table: self.kind.table(&fleets, &self.query).await?,
            as_of: as_of(&fleets, self.at).await?,
            paused: fleets
                .global_pause()
                .map(|paused| paused.message.to_string()),
        })
    }
}

impl ServiceRequest for DescribeRequest {
    type Answer = DescribedObject;
    const OPERATION: Operation = Operation {
        id: "describeObject",
        path: "/v1/describe",
        summary: "Show everything known about an object of any kind",
    };
    const NEEDS: Rights = Rights::Look;

    fn needs(&self) -> Rights {
        reading_of(self.kind)
    }

    fn asks_hosts(&self) -> bool {
        self.kind.asks_hosts()
    }

    async fn answer(self, api: &Api, caller: &Caller) -> Result<DescribedObject, Problem> {
        let fleets = api.fleets_at(caller, self.at).await?;
        let (namespace, name) = (&self.namespace, &self.name);
        Ok(DescribedObject {
            description: self.kind.describe(&fleets, namespace, name).await?,
            as_of: as_of(&fleets, self.at).await?,
        })
    }
}

/// The namespace of an object whose request names none.
pub(super) fn default_namespace() -> String {
    "default".to_owned()
}

/// A viewer's reading connects to no host.
pub(super) fn reading_of(kind: ObjectKind) -> Rights {
    if kind.asks_hosts() {
        Rights::Operate
    } else {
        Rights::Look
    }
}

pub(super) async fn as_of(
    fleets: &Arc<Fleets>,
    at: Option<Moment>,
) -> Result<Option<AsOf>, Problem> {
    if at.is_none() {
        return Ok(None);
    }
    let newest = fleets.newest_event().await?;
    let are_several = fleets.are_several();
    Ok(newest.map(|(offset, time)| AsOf {
        offset: (!are_several).then_some(offset),
        time,
        journals: fleets.all().count(),
    }))
}
