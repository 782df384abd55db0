//! What all resources of `/v1` share: the answer, the list, the path of an object, and the description.

use aide::transform::TransformOperation;
use axum::Json;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use vsiflow_workflows::fleet::Moment;

use crate::Problem;

/// The result of a handler.
pub(crate) type Answer<T> = Result<Json<T>, Problem>;

/// Describes an operation.
pub(crate) fn about(
    id: &str,
    tag: &str,
    summary: &str,
) -> impl FnOnce(TransformOperation<'_>) -> TransformOperation<'_> + use<> {
    let [id, tag, summary] = [id, tag, summary].map(str::to_owned);
    move |operation| operation.id(&id).tag(&tag).summary(&summary)
}

/// A list, as Kubernetes has it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}List")]
pub(crate) struct List<T> {
    /// `v1`.
    api_version: &'static str,
    /// `List`.
    kind: &'static str,
    /// What there is.
    items: Vec<T>,
}

impl<T> List<T> {
    pub(crate) fn of(items: Vec<T>) -> Json<Self> {
        Json(Self {
            api_version: "v1",
            kind: "List",
            items,
        })
    }
}

/// An object by namespace and name.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Named")]
pub(crate) struct ObjectPath {
    /// The namespace.
    pub(crate) namespace: String,
    /// The name.
    pub(crate) name: String,
}

/// Which objects are listed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListQuery {
    /// Those of this namespace alone.
    namespace: Option<String>,
    /// Deleted ones, too.
    pub(super) deleted: bool,
    /// After the event of this offset, or at this time (RFC 3339) [default: now].
    pub(super) at: Option<Moment>,
}

impl ListQuery {
    /// Whether an object of this namespace is listed. An object whose namespace cannot be read is in all of them.
    pub(super) fn includes(&self, namespace: Option<&str>) -> bool {
        match (&self.namespace, namespace) {
            (Some(wanted), Some(namespace)) => wanted == namespace,
            _ => true,
        }
    }
}

/// At which moment.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct AtQuery {
    /// After the event of this offset, or at this time (RFC 3339) [default: now].
    pub(crate) at: Option<Moment>,
}
