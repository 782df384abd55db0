//! Looks into the parts of a MIME message, of which cloud-init reads each by its type.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{
    InputProblem, TEMPLATE, YamlShape, check_form, check_script, check_yaml, form_of, template,
};

/// How many parts are looked at.
const PARTS_MAX: usize = 64;

/// The types of parts that cloud-init reads, beside those that it tells by their content.
const TYPES: [&str; 10] = [
    "text/cloud-config",
    "text/cloud-config-archive",
    "text/cloud-config-jsonp",
    "text/cloud-boothook",
    "text/jinja2",
    "text/part-handler",
    "text/upstart-job",
    "text/x-include-url",
    "text/x-include-once-url",
    "text/x-shellscript",
];
/// Types of which cloud-init has several, by their beginnings.
const TYPE_BEGINNINGS: [&str; 3] = ["multipart/", "application/", "text/x-shellscript-per-"];

/// The problem of the first part that cloud-init would ignore.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let text = without_envelope(text);
    let (head, body) = split_head(text);
    let begins_with_header = head
        .split_once(':')
        .is_some_and(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace));
    if !begins_with_header {
        // The words of a message are somewhere in a text of another form.
        return check_form(text);
    }
    let content_type = header(head, "content-type").unwrap_or("text/plain");
    if !kind_of(content_type).starts_with("multipart/") {
        return check_part(text, false);
    }
    let boundary = parameter(content_type, "boundary").unwrap_or_default();
    if boundary.is_empty() || !body.lines().any(|line| is_delimiter(line, boundary)) {
        return Some(InputProblem::new(
            "it is a message whose `boundary` is not in its text, so that it has no parts",
            "write the boundary of its Content-Type between the parts, after `--`",
        ));
    }
    check_parts(&parts(body, boundary))
}

/// The text without the line that mailboxes have before the headers.
fn without_envelope(text: &str) -> &str {
    match text.split_once('\n') {
        Some((line, rest)) if line.starts_with("From ") => rest,
        _ => text,
    }
}

fn check_parts(parts: &[&str]) -> Option<InputProblem> {
    let parts = parts.get(..PARTS_MAX.min(parts.len())).unwrap_or_default();
    let is_handler = |part: &&str| {
        let (head, _) = split_head(part);
        header(head, "content-type").map(kind_of).as_deref() == Some("text/part-handler")
    };
    let has_handler = parts.iter().any(is_handler);
    (1..).zip(parts).find_map(|(number, part)| {
        let problem = check_part(part, has_handler)?;
        Some(InputProblem {
            message: format!("of its part {number}, {}", problem.message),
            ..problem
        })
    })
}

fn kind_of(content_type: &str) -> String {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().to_lowercase()
}

/// Whether a line stands between parts, or after the last one.
fn is_delimiter(line: &str, boundary: &str) -> bool {
    let rest = line.strip_prefix("--");
    let rest = rest.and_then(|rest| rest.strip_prefix(boundary));
    rest.is_some_and(|rest| matches!(rest.trim_end(), "" | "--"))
}

fn check_part(part: &str, has_handler: bool) -> Option<InputProblem> {
    let (head, content) = split_head(part);
    if content.trim().is_empty() {
        return None;
    }
    let content_type = header(head, "content-type").unwrap_or("text/plain");
    let encoding = header(head, "content-transfer-encoding").unwrap_or("8bit");
    let kind = kind_of(content_type);
    match kind.as_str() {
        // cloud-init tells the type of such a part by its content.
        "text/plain" | "text/x-not-multipart" => check_form(&decoded(content, encoding)?),
        _ if is_checked(&kind) => check_typed(&decoded(content, encoding)?, &kind),
        _ if is_read(&kind) || has_handler => None,
        _ => Some(unknown_type("Content-Type")),
    }
}

/// Whether the content of a type is checked.
fn is_checked(kind: &str) -> bool {
    ["text/cloud-config", "text/jinja2", "text/x-shellscript"].contains(&kind)
}

fn is_read(kind: &str) -> bool {
    let mut beginnings = TYPE_BEGINNINGS.iter();
    TYPES.contains(&kind) || beginnings.any(|beginning| kind.starts_with(beginning))
}

fn check_typed(content: &str, kind: &str) -> Option<InputProblem> {
    match kind {
        // A template is one by its first line, whatever its type.
        _ if form_of(content) == Some(TEMPLATE) => template::check(content),
        "text/cloud-config" => check_yaml(content, YamlShape::Mapping),
        "text/x-shellscript" => check_script(content),
        _ => None,
    }
}

/// The problem of the content of an entry with a type in another container than a message.
pub(super) fn check_of_type(content: &str, kind: &str, has_handler: bool) -> Option<InputProblem> {
    let kind = kind_of(kind);
    if is_checked(&kind) {
        return check_typed(content, &kind);
    }
    (!is_read(&kind) && kind != "text/plain" && !has_handler).then(|| unknown_type("`type`"))
}

fn unknown_type(field: &str) -> InputProblem {
    InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            format!("its {field} is none that cloud-init knows"),
            "write text/cloud-config or text/x-shellscript, or add a part-handler for it",
        )
    }
}

/// The text of a part; `None` if it is encoded in another way than base64.
fn decoded(content: &str, encoding: &str) -> Option<String> {
    match encoding.trim().to_lowercase().as_str() {
        "7bit" | "8bit" | "binary" => Some(content.to_owned()),
        "base64" => {
            let letters: String = content.split_whitespace().collect();
            String::from_utf8(BASE64.decode(letters).ok()?).ok()
        }
        _ => None,
    }
}

/// The headers, and what follows the empty line after them.
fn split_head(text: &str) -> (&str, &str) {
    let mut end = 0_usize;
    for line in text.split_inclusive('\n') {
        let after = end.saturating_add(line.len());
        if line.trim().is_empty() {
            let head = text.get(..end).unwrap_or_default();
            return (head, text.get(after..).unwrap_or_default());
        }
        end = after;
    }
    (text, "")
}

/// The value of a header with its continued lines, without the line ends between them.
fn header<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    let mut at = 0_usize;
    for line in head.split_inclusive('\n') {
        if let Some((key, _)) = line.split_once(':')
            && key.eq_ignore_ascii_case(name)
        {
            let value = head.get(at.saturating_add(key.len()).saturating_add(1)..)?;
            return value.get(..folded_length(value));
        }
        at = at.saturating_add(line.len());
    }
    None
}

/// The length of the first line and of those that continue it.
fn folded_length(value: &str) -> usize {
    let lines = value.split_inclusive('\n').enumerate();
    let own = lines.take_while(|(number, line)| *number == 0 || line.starts_with([' ', '\t']));
    own.map(|(_, line)| line.len()).sum()
}

/// A parameter of a header, without quotes.
fn parameter<'t>(value: &'t str, name: &str) -> Option<&'t str> {
    let mut parameters = value.split(';').skip(1);
    parameters.find_map(|parameter| {
        let (key, text) = parameter.split_once('=')?;
        let text = text.trim().trim_matches('"');
        (key.trim().eq_ignore_ascii_case(name) && !text.is_empty()).then_some(text)
    })
}

/// The texts between the lines with the boundary.
fn parts<'t>(body: &'t str, boundary: &str) -> Vec<&'t str> {
    let is_separator = |line: &str| line.strip_prefix("--") == Some(boundary);
    let is_end = |line: &str| line.strip_suffix("--").is_some_and(is_separator);
    let (mut parts, mut start, mut at) = (Vec::new(), None, 0_usize);
    for line in body.split_inclusive('\n') {
        let after = at.saturating_add(line.len());
        let text = line.trim_end();
        if is_separator(text) || is_end(text) {
            parts.extend(start.and_then(|start| body.get(start..at)));
            start = is_separator(text).then_some(after);
        }
        at = after;
    }
    parts.extend(start.and_then(|start: usize| body.get(start..)));
    parts
}
