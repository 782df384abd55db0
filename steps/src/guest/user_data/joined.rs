//! Tells texts whose lines were joined into one, so that all of it is a comment or the arguments of an interpreter:
//! `>` in YAML folds lines, and in single quotation marks `\n` ends none.

use super::{ARCHIVE, CLOUD_CONFIG, InputProblem, config_keys};

/// What ends a line for PyYAML.
const LINE_ENDS: [char; 5] = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
const PART_HANDLER: &str = "#part-handler";
const REMEDY: &str =
    "write it below `|`: `>` joins its lines, and in single quotation marks `\\n` ends none";

/// The problem of a text of this form with more than the form's name on its first line. cloud-init reads addresses
/// and JSON there, and a note is harmless.
pub(super) fn check(text: &str, form: &str) -> Option<InputProblem> {
    let mut lines = text.trim().splitn(2, LINE_ENDS);
    let first = lines.next()?;
    let is_alone = lines.next().is_none();
    let is_named = first.get(..form.len())?.eq_ignore_ascii_case(form);
    let behind = first.get(form.len()..).filter(|_| is_named)?;
    let words = behind.trim_start();
    if begins_with_escape(behind) {
        return Some(problem(&format!("`{form}`")));
    }
    if words.len() == behind.len() || words.contains("$(") {
        return None;
    }
    let is_joined = match form {
        CLOUD_CONFIG | ARCHIVE if is_alone => is_yaml(words),
        CLOUD_CONFIG => begins_with_key(words),
        PART_HANDLER => is_alone && !words.starts_with('#'),
        _ => false,
    };
    is_joined.then(|| problem(&format!("`{form}`")))
}

/// The problem of a message of which all lines were joined.
pub(super) fn check_message(text: &str) -> Option<InputProblem> {
    let is_alone = !text.trim().contains(LINE_ENDS);
    is_alone.then(|| problem("the first header"))
}

/// The problem of a script with more behind its interpreter than the arguments that one takes there.
pub(super) fn check_script(first: &str, is_alone: bool) -> Option<InputProblem> {
    let mut words = first.split_whitespace();
    let path = words.next()?;
    let name = path.rsplit('/').next()?;
    let argument = words.next();
    let is_option = argument.is_none_or(|word| word.starts_with(['-', '+']));
    let has_more = words.next().is_some();
    let is_joined = match name {
        _ if path.contains("\\n") => true,
        "env" => has_more && !is_option,
        name if is_shell(name) => !is_option || is_alone && has_more,
        _ => false,
    };
    is_joined.then(|| problem("the interpreter"))
}

fn is_shell(name: &str) -> bool {
    ["ash", "bash", "dash", "ksh", "sh", "zsh"].contains(&name)
}

fn begins_with_escape(behind: &str) -> bool {
    ["\\n", "\\r"]
        .iter()
        .any(|end| behind.trim_start().starts_with(end))
}

fn is_yaml(words: &str) -> bool {
    if words.starts_with('#') {
        // A note, unless a key that cloud-init reads is in it.
        return words.split_whitespace().any(begins_with_key);
    }
    let has_key = words.split_whitespace().any(|word| word.ends_with(':'));
    has_key || words.starts_with(['[', '{']) || words.starts_with("- ")
}

fn begins_with_key(words: &str) -> bool {
    let first = words.split_whitespace().next().unwrap_or_default();
    first.strip_suffix(':').is_some_and(config_keys::is_key)
}

fn problem(behind: &str) -> InputProblem {
    let message = format!("what belongs below its first line stands on it, behind {behind}");
    InputProblem::new(message, REMEDY)
}
