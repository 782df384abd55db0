//! The schemas of specs, by the kinds of their documents.

use std::sync::LazyLock;

use serde_json::Value;
use vsiflow_workflows::spec::definitions;

static SPECS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| definitions::specs().into());

/// The specs of all kinds.
pub(crate) fn specs() -> impl Iterator<Item = &'static Value> {
    SPECS.iter().map(|(_, spec)| spec)
}
