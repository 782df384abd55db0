//! Kind `VirtualServerSnapshot`: snapshots that documents request.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::documents::Document;
use super::text;

/// The spec of kind `VirtualServerSnapshot`: a snapshot of a VSI of the same namespace. It is taken
/// once, when its document is applied first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SnapshotSpec {
    /// The VSI of the same namespace, of either kind.
    #[serde(deserialize_with = "text::host_object")]
    #[schemars(length(min = 1, max = 253), extend("x-example" = "web", "x-immutable" = "a snapshot is taken once"))]
    pub virtual_server: String,
    /// Whether the guest's agent holds its file systems still for that moment.
    #[serde(default)]
    #[schemars(extend("x-example" = true))]
    pub quiesce: bool,
    /// Whether the guest's memory is saved, too; refused with the reason where that is not possible.
    #[serde(default)]
    #[schemars(extend("x-example" = true))]
    pub memory: bool,
}

/// A snapshot that a document requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredSnapshot {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The UID, if the document has one.
    pub uid: Option<Uuid>,
    /// The spec of the document.
    pub spec: SnapshotSpec,
}

impl DesiredSnapshot {
    pub(super) fn of(document: &Document<SnapshotSpec>) -> Self {
        let meta = &document.meta;
        Self {
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid,
            spec: document.spec.clone(),
        }
    }
}
