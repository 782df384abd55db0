//! How a cloud-config is merged with others: cloud-init drops all of one that names a way which it does not have.
//! <https://docs.cloud-init.io/en/latest/reference/merging.html>.

use serde_json::{Map, Value};

use super::InputProblem;

/// The keys that say it.
const KEYS: [&str; 2] = ["merge_how", "merge_type"];
/// The mergers of cloud-init; each may have `m_` before its name.
const MERGERS: [&str; 3] = ["dict", "list", "str"];

/// The problem of a way to merge that cloud-init does not have.
pub(super) fn check(config: &Map<String, Value>) -> Option<InputProblem> {
    let (key, how) = KEYS.iter().find_map(|key| Some((key, config.get(*key)?)))?;
    let is_known = match how {
        Value::Null => true,
        Value::String(text) => text.split('+').all(is_merger_with_options),
        Value::Array(mergers) => mergers.iter().all(is_named_merger),
        _ => false,
    };
    (!is_known).then(|| {
        let message = format!("its `{key}` names a way to merge that cloud-init does not have");
        let remedy = "write it as `list(append)+dict(recurse_array)+str()`";
        InputProblem::new(message, remedy)
    })
}

/// `NAME(OPTIONS)`.
fn is_merger_with_options(text: &str) -> bool {
    let merging = text.trim();
    let merger = merging
        .strip_suffix(')')
        .and_then(|call| call.split_once('('));
    merging.is_empty() || merger.is_some_and(|(name, _)| is_merger(name))
}

fn is_named_merger(merger: &Value) -> bool {
    merger
        .get("name")
        .and_then(Value::as_str)
        .is_some_and(is_merger)
}

fn is_merger(name: &str) -> bool {
    let merger = name.to_lowercase().replace('-', "_");
    MERGERS.contains(&merger.strip_prefix("m_").unwrap_or(&merger))
}
