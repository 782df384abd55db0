//! Kind `VirtualServerQuota`: limits of what the VSIs of a namespace may use together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::documents::{Document, Documents};
use super::meta;
use super::problem::{FieldPath, Problem, ProblemCode};
use super::quantity::Quantity;

/// The spec of kind `VirtualServerQuota`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaSpec {
    /// The limits of the namespace. What is left out is not limited.
    #[schemars(extend("x-example" = "{vsis: 10, memory: 64Gi}", "x-expected" = "an object of limits"))]
    pub hard: QuotaLimits,
}

/// Limits of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QuotaLimits {
    /// How many servers there may be, members of pools and groups included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = 10))]
    pub vsis: Option<u32>,
    /// How many virtual processors they may have together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = 10))]
    pub cpus: Option<u32>,
    /// How much memory they may have together, such as 256Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "64Gi"))]
    pub memory: Option<Quantity>,
    /// How large their boot disks and the data disks of the namespace may be together, such as 2Ti. With this limit a new
    /// server says its bootDisk.size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-example" = "64Gi"))]
    pub disk: Option<Quantity>,
}

/// A quota, resolved from its document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredQuota {
    /// The namespace.
    pub namespace: String,
    /// The name.
    pub name: String,
    /// The limits.
    pub hard: QuotaLimits,
}

/// The quotas of the documents.
pub(super) fn of(documents: &Documents, problems: &mut Vec<Problem>) -> Vec<DesiredQuota> {
    let desired = documents.quotas.iter().map(|document| {
        problems.extend(wrong(document));
        DesiredQuota {
            namespace: document.meta.namespace.clone(),
            name: document.meta.name.clone(),
            hard: document.spec.hard.clone(),
        }
    });
    desired.collect()
}

fn wrong(document: &Document<QuotaSpec>) -> Option<Problem> {
    let problem = |path: FieldPath, message: &str, remedy| {
        document.problem(ProblemCode::WrongValue, path, message, remedy)
    };
    if meta::check_label(&document.meta.name).is_err() {
        let path = FieldPath::of(["metadata", "name"]);
        let message = "a quota's name has at most 63 lower-case letters, digits and `-`";
        return Some(problem(path, message, "choose another name"));
    }
    if document.spec.hard == QuotaLimits::default() {
        let path = FieldPath::of(["spec", "hard"]);
        let remedy = "write a limit, such as vsis: 10; `vsiflow delete quota/NAME` deletes a quota";
        return Some(problem(path, "it limits nothing", remedy));
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn limits_are_numbers_and_sizes() {
        let read = |hard| serde_json::from_value::<QuotaSpec>(json!({"hard": hard}));
        let all = read(json!({"vsis": 0, "cpus": 8, "memory": "16Gi", "disk": "1Ti"})).unwrap();
        assert_eq!(all.hard.memory, Some(Quantity(16 << 30)));
        let written = serde_json::to_value(&all).unwrap();
        assert_eq!(serde_json::from_value::<QuotaSpec>(written).unwrap(), all);
        for wrong in [
            json!({"vsis": -1}),
            json!({"cpus": "many"}),
            json!({"memory": "much"}),
            json!({"disk": -1}),
            json!({"pods": 3}),
        ] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
