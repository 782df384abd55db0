//! Looks into the entries of an archive of cloud-init.

use super::{ARCHIVE, InputProblem, YamlShape, check_form, check_yaml, form_of, mime, read_yaml};

/// How many entries are looked at.
const ENTRIES_MAX: usize = 64;
/// The type of an entry that makes cloud-init read other types.
const HANDLER: &str = "text/part-handler";

/// The problem of the first entry that cloud-init would ignore.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let entries: Vec<serde_json::Value> = read_yaml(text).ok()?;
    let entries = entries.iter().take(ENTRIES_MAX);
    let has_handler = entries.clone().any(|entry| type_of(entry) == Some(HANDLER));
    (1..).zip(entries).find_map(|(number, entry)| {
        let problem = check_entry(entry, has_handler)?;
        Some(InputProblem {
            message: format!("of its entry {number}, {}", problem.message),
            ..problem
        })
    })
}

fn type_of(entry: &serde_json::Value) -> Option<&str> {
    entry.get("type")?.as_str()
}

fn check_entry(entry: &serde_json::Value, has_handler: bool) -> Option<InputProblem> {
    let content = entry.get("content").unwrap_or(entry).as_str()?;
    match type_of(entry) {
        Some(kind) => mime::check_of_type(content, kind, has_handler),
        None => match form_of(content) {
            // What is in an archive within an archive is not looked at: each one would be read as often as it is nested.
            Some(ARCHIVE) => check_yaml(content, YamlShape::List),
            Some(_) => check_form(content),
            None => check_yaml(content, YamlShape::Mapping),
        },
    }
}
