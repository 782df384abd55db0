//! Looks into the entries of an archive of cloud-init.

use serde_json::{Map, Value};

use super::{
    CheckBudget, InputProblem, YamlShape, check_form, check_yaml, form_of, mime, read_yaml,
};

/// The type of an entry that makes cloud-init read other types.
const HANDLER: &str = "text/part-handler";
/// What cloud-init looks into, except in an archive.
const CONTAINERS: [&str; 4] = [
    "text/cloud-config-archive",
    "text/x-include-url",
    "text/x-include-once-url",
    "multipart/mixed",
];
const CONTAINER_FORMS: [&str; 3] = ["#cloud-config-archive", "#include", "#include-once"];

/// The problem of the first entry that cloud-init would ignore.
pub(super) fn check(text: &str, budget: &CheckBudget) -> Option<InputProblem> {
    let entries = match read_yaml(text).ok()? {
        Value::Array(entries) => entries,
        Value::Null => Vec::new(),
        _ => return None,
    };
    if entries.is_empty() {
        return Some(wrong("it is an archive without entries"));
    }
    let has_handler = entries.iter().any(|entry| type_of(entry) == Some(HANDLER));
    (1..).zip(&entries).find_map(|(number, entry)| {
        if let Err(too_large) = budget.take_part() {
            return Some(too_large);
        }
        let problem = check_entry(entry, has_handler, budget)?;
        Some(InputProblem {
            message: format!("of its entry {number}, {}", problem.message),
            ..problem
        })
    })
}

fn type_of(entry: &Value) -> Option<&str> {
    entry.get("type")?.as_str().filter(|kind| !kind.is_empty())
}

fn check_entry(entry: &Value, has_handler: bool, budget: &CheckBudget) -> Option<InputProblem> {
    let text = match entry {
        Value::String(text) => Some(text.as_str()),
        Value::Object(fields) => match check_fields(fields) {
            Some(problem) => return Some(problem),
            None if !fields.contains_key("content") => {
                return Some(wrong("the entry has no `content`"));
            }
            None => fields.get("content").and_then(Value::as_str),
        },
        _ => return Some(wrong("the entry is neither a text nor a mapping")),
    };
    let content = text?;
    match type_of(entry) {
        Some(kind) if CONTAINERS.contains(&mime::kind_of(kind).as_str()) => Some(nested()),
        Some(kind) => mime::check_of_type(content, kind, has_handler, budget),
        None => match form_of(content) {
            Some(form) if CONTAINER_FORMS.contains(&form) => Some(nested()),
            Some(_) => check_form(content, budget),
            None => check_yaml(content, YamlShape::Mapping, budget),
        },
    }
}

/// The problem of a field at which cloud-init ends with an error, so that nothing of the archive is applied.
fn check_fields(fields: &Map<String, Value>) -> Option<InputProblem> {
    let has_slash = |kind: &Value| {
        kind.is_null()
            || kind
                .as_str()
                .is_some_and(|kind| kind.is_empty() || kind.contains('/'))
    };
    if fields.get("type").is_some_and(|kind| !has_slash(kind)) {
        return Some(wrong("its `type` is not one such as text/cloud-config"));
    }
    let is_text = |value: &Value| value.is_string();
    if fields
        .get("content")
        .is_some_and(|content| !is_text(content))
    {
        return Some(wrong("its `content` is not a text"));
    }
    let is_own = |key: &str| ["content", "filename", "launch-index", "type"].contains(&key);
    let mut headers = fields.iter().filter(|(key, _)| !is_own(key));
    headers
        .any(|(_, value)| !is_text(value) && !value.is_null())
        .then(|| wrong("a value of it is not a text"))
}

fn wrong(message: &str) -> InputProblem {
    InputProblem::new(
        message,
        "write `type` and `content` as texts; `|` begins one of several lines",
    )
}

fn nested() -> InputProblem {
    let message =
        "it is an archive or a list of addresses, which cloud-init does not read within an archive";
    InputProblem::new(
        message,
        "write its entries into this archive, or send both in a MIME message",
    )
}
