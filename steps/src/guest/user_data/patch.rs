//! Checks a JSON patch, which changes the cloud-config before it (RFC 6902).

use serde_json::{Map, Value};

use super::{CheckBudget, InputProblem};

const FIRST_WORD: &str = "#cloud-config-jsonp";
/// The operations, each with what it needs beside `path`.
const OPERATIONS: [(&str, Option<&str>); 6] = [
    ("add", Some("value")),
    ("copy", Some("from")),
    ("move", Some("from")),
    ("remove", None),
    ("replace", Some("value")),
    ("test", Some("value")),
];
const REMEDY: &str = "write a list of operations in JSON below the first line";

/// The problem of a patch that cannot be applied to any document.
pub(super) fn check(text: &str, budget: &CheckBudget) -> Option<InputProblem> {
    if let Err(too_large) = budget.take_bytes(text.len()) {
        return Some(too_large);
    }
    let begin = text.trim_start();
    let patch = begin.strip_prefix(FIRST_WORD).unwrap_or(begin);
    let Ok(operations) = serde_json::from_str::<Vec<Value>>(patch) else {
        let message = "what follows its first line is not a JSON patch";
        return Some(InputProblem::new(message, REMEDY));
    };
    let is_wrong = |operation: &Value| !operation.as_object().is_some_and(is_operation);
    let index = operations.iter().position(is_wrong)?;
    let message = format!(
        "entry {} of its JSON patch is not an operation",
        index.saturating_add(1)
    );
    let remedy = "give each entry an `op` such as `add`, a `path` that begins with `/`, and what its operation needs";
    Some(InputProblem::new(message, remedy))
}

fn is_operation(operation: &Map<String, Value>) -> bool {
    let is_pointer = |value: &Value| {
        value
            .as_str()
            .is_some_and(|path| path.is_empty() || path.starts_with('/'))
    };
    let op = operation.get("op").and_then(Value::as_str);
    let operation_kind = OPERATIONS.iter().find(|(name, _)| Some(*name) == op);
    operation_kind.is_some_and(|(_, needed)| match needed {
        Some(key @ "from") => operation.get(*key).is_some_and(is_pointer),
        Some(key) => operation.contains_key(*key),
        None => true,
    }) && operation.get("path").is_some_and(is_pointer)
}
