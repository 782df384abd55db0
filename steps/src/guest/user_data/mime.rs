//! Looks into the parts of a MIME message, of which cloud-init reads each by its type.

use std::collections::BTreeMap;

use super::{
    CheckBudget, InputProblem, TEMPLATE, check_archive, check_config, check_form, check_text_of,
    check_unpacked, form_of, joined, patch, script, template, transfer_encoding, upstart,
};

/// How deep messages in messages are looked into.
const DEPTH_MAX: usize = 4;

/// The types of packed parts that cloud-init unpacks.
const PACKED: [&str; 8] = [
    "application/gzip",
    "application/gzip-compressed",
    "application/gzipped",
    "application/x-compress",
    "application/x-compressed",
    "application/x-gunzip",
    "application/x-gzip",
    "application/x-gzip-compressed",
];
/// The beginnings of the names of headers that a part may have.
const HEADERS: [&str; 6] = [
    "content-",
    "launch-index",
    "merge-type",
    "mime-version",
    "number-attachments",
    "x-",
];

/// The problem of the first part that cloud-init would ignore.
pub(super) fn check(text: &str, budget: &CheckBudget) -> Option<InputProblem> {
    let text = without_envelope(text);
    let (head, body) = split_head(text);
    let begins_with_header = head
        .split_once(':')
        .is_some_and(|(name, _)| !name.is_empty() && !name.contains(char::is_whitespace));
    if !begins_with_header {
        // The words of a message are somewhere in a text of another form.
        return check_form(text, budget);
    }
    if let Some(joined) = joined::check_message(text) {
        return Some(joined);
    }
    let content_type = header(head, "content-type").unwrap_or("text/plain");
    if kind_of(content_type).starts_with("multipart/") {
        check_multipart(content_type, body, 0, budget)
    } else {
        Part {
            text,
            depth: 0,
            has_handler: false,
        }
        .check(budget)
    }
}

fn check_multipart(
    content_type: &str,
    body: &str,
    depth: usize,
    budget: &CheckBudget,
) -> Option<InputProblem> {
    let boundary = parameter(content_type, "boundary").unwrap_or_default();
    if boundary.is_empty() || !body.lines().any(|line| is_delimiter(line, &boundary)) {
        return Some(InputProblem::new(
            "it is a message whose `boundary` is not in its text, so that it has no parts",
            "write the boundary of its Content-Type between the parts, after `--`",
        ));
    }
    check_parts(&parts(body, &boundary), depth, budget)
}

/// The text without the line that mailboxes have before the headers.
fn without_envelope(text: &str) -> &str {
    match text.split_once('\n') {
        Some((line, rest)) if line.starts_with("From ") => rest,
        _ => text,
    }
}

fn check_parts(parts: &[&str], depth: usize, budget: &CheckBudget) -> Option<InputProblem> {
    let is_handler = |part: &&str| {
        let (head, _) = split_head(part);
        header(head, "content-type").map(kind_of).as_deref() == Some("text/part-handler")
    };
    let has_handler = parts.iter().any(is_handler);
    (1..).zip(parts).find_map(|(number, part)| {
        if let Err(too_large) = budget.take_part() {
            return Some(too_large);
        }
        let part = Part {
            text: part,
            depth,
            has_handler,
        };
        let problem = part.check(budget)?;
        Some(InputProblem {
            message: format!("of its part {number}, {}", problem.message),
            ..problem
        })
    })
}

pub(super) fn kind_of(content_type: &str) -> String {
    let kind = content_type.split(';').next().unwrap_or_default();
    kind.trim().to_lowercase()
}

/// Whether a line stands between parts, or after the last one.
fn is_delimiter(line: &str, boundary: &str) -> bool {
    line.strip_prefix("--")
        .and_then(|rest| rest.strip_prefix(boundary))
        .is_some_and(|rest| matches!(rest.trim_end(), "" | "--"))
}

/// A part of a message.
#[derive(Clone, Copy)]
struct Part<'t> {
    text: &'t str,
    /// In how many messages the message is.
    depth: usize,
    /// Whether another part makes cloud-init read further types.
    has_handler: bool,
}

impl Part<'_> {
    fn check(self, budget: &CheckBudget) -> Option<InputProblem> {
        let (head, content) = split_head(self.text);
        if content.trim().is_empty() {
            return has_other_lines(head).then(without_content);
        }
        let content_type = header(head, "content-type").unwrap_or("text/plain");
        let kind = kind_of(content_type);
        if kind.starts_with("multipart/") {
            let depth = self.depth.saturating_add(1);
            let check = || check_multipart(content_type, content, depth, budget);
            return (depth < DEPTH_MAX).then(check)?;
        }
        let encoding = header(head, "content-transfer-encoding").unwrap_or("8bit");
        let bytes = match transfer_encoding::decoded(content, encoding)? {
            Ok(bytes) => bytes,
            Err(damaged) => return Some(damaged),
        };
        if PACKED.contains(&kind.as_str()) {
            return check_unpacked(&bytes, budget, |plain, budget| {
                check_text_of(plain, |text| check_form(text, budget))
            });
        }
        check_text_of(&bytes, |text| match kind.as_str() {
            // cloud-init tells the type of such a part by its content.
            "text/plain" | "text/x-not-multipart" => check_form(text, budget),
            "text/x-shellscript" if form_of(text).is_some() => check_form(text, budget),
            "text/cloud-config-archive" if form_of(text) != Some(TEMPLATE) => {
                check_archive(text, budget)
            }
            "text/x-include-url" | "text/x-include-once-url" => None,
            kind => check_of_type(text, kind, self.has_handler, budget),
        })
    }
}

/// Whether there are lines that are no headers of a part, such as those of a content without an empty line before it.
fn has_other_lines(head: &str) -> bool {
    let is_header = |line: &str| {
        let lower = line.to_lowercase();
        lower.starts_with([' ', '\t']) || HEADERS.iter().any(|name| lower.starts_with(name))
    };
    head.lines().any(|line| !is_header(line))
}

fn without_content() -> InputProblem {
    let message = "it has headers alone, and no content";
    InputProblem::new(
        message,
        "write an empty line between the headers and the content",
    )
}

/// The problem of a content whose type its container tells.
pub(super) fn check_of_type(
    content: &str,
    kind: &str,
    has_handler: bool,
    budget: &CheckBudget,
) -> Option<InputProblem> {
    match kind_of(kind).as_str() {
        // A template is one by its first line, whatever its type.
        "text/jinja2" | "text/cloud-config" if form_of(content) == Some(TEMPLATE) => {
            template::check(content, budget)
        }
        "text/jinja2" => Some(no_template()),
        "text/cloud-config" => check_config(content, budget),
        "text/cloud-config-jsonp" => patch::check(content, budget),
        "text/cloud-boothook" => script::check_boothook(content),
        "text/x-shellscript"
        | "text/x-shellscript-per-boot"
        | "text/x-shellscript-per-instance"
        | "text/x-shellscript-per-once" => script::check(content),
        "text/part-handler" => None,
        _ if has_handler => None,
        "text/upstart-job" => Some(upstart()),
        _ => Some(unknown_type()),
    }
}

fn no_template() -> InputProblem {
    let message = "it is called a template and does not begin with `## template: jinja`";
    InputProblem::new(message, "write that line first, or another type")
}

fn unknown_type() -> InputProblem {
    InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            "its type is none that cloud-init reads there",
            "write text/cloud-config or text/x-shellscript, or add a part-handler for it",
        )
    }
}

/// The headers, and what follows the empty line after them, or begins with the first line that is no header.
fn split_head(text: &str) -> (&str, &str) {
    let mut end = 0_usize;
    for line in text.split_inclusive('\n') {
        let line_end = end.saturating_add(line.len());
        let is_end = line.trim().is_empty();
        if is_end || !is_header_line(line) {
            let head = text.get(..end).unwrap_or_default();
            let content = if is_end { line_end } else { end };
            return (head, text.get(content..).unwrap_or_default());
        }
        end = line_end;
    }
    (text, "")
}

/// Whether a line has the name of a header before a colon, or continues the line before it.
fn is_header_line(line: &str) -> bool {
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_graphic());
    line.starts_with([' ', '\t']) || line.split_once(':').is_some_and(|(name, _)| is_name(name))
}

/// The value of a header with its continued lines, without the line ends between them.
fn header<'t>(head: &'t str, name: &str) -> Option<&'t str> {
    let mut line_start = 0_usize;
    for line in head.split_inclusive('\n') {
        if let Some((key, _)) = line.split_once(':')
            && key.eq_ignore_ascii_case(name)
        {
            let value = head.get(line_start.saturating_add(key.len()).saturating_add(1)..)?;
            return value.get(..folded_length(value));
        }
        line_start = line_start.saturating_add(line.len());
    }
    None
}

/// The length of the first line and of those that continue it.
fn folded_length(value: &str) -> usize {
    let lines = value.split_inclusive('\n').enumerate();
    let header_lines =
        lines.take_while(|(number, line)| *number == 0 || line.starts_with([' ', '\t']));
    header_lines.map(|(_, line)| line.len()).sum()
}

/// A parameter of a header, as Python reads it: without quotation marks or angle brackets, and put together where it
/// is percent-encoded or in several pieces (RFC 2231).
fn parameter(value: &str, name: &str) -> Option<String> {
    // Looked up by name, because a header may have as many parameters as fit into the text.
    let mut texts = BTreeMap::new();
    for (key, text) in parameters(value) {
        texts.entry(key).or_insert(text);
    }
    let extended = || {
        let text = texts.get(&format!("{name}*"))?;
        let encoded = text.splitn(3, '\'').nth(2).unwrap_or(text);
        let decoded = percent_encoding::percent_decode_str(encoded);
        Some(decoded.decode_utf8_lossy().into_owned())
    };
    let joined = || {
        let pieces = (0..).map_while(|number| texts.get(&format!("{name}*{number}")));
        pieces.map(String::as_str).collect()
    };
    let text = texts
        .get(name)
        .cloned()
        .or_else(extended)
        .unwrap_or_else(joined);
    let text = text.trim_end();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The parameters of a header, with their names in lower case.
fn parameters(value: &str) -> impl Iterator<Item = (String, String)> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    let ends = move |c: char| {
        let was_escaped = is_escaped;
        is_escaped = is_quoted && !was_escaped && c == '\\';
        if c == '"' && !was_escaped {
            is_quoted = !is_quoted;
        }
        c == ';' && !is_quoted
    };
    let parameters = value.split(ends).skip(1);
    parameters.filter_map(|parameter| {
        let (key, text) = parameter.split_once('=')?;
        Some((key.trim().to_lowercase(), unquoted(text.trim())))
    })
}

fn unquoted(text: &str) -> String {
    let within = |open, close| text.strip_prefix(open)?.strip_suffix(close);
    match within('"', '"') {
        Some(quoted) => quoted.replace("\\\\", "\\").replace("\\\"", "\""),
        None => within('<', '>').unwrap_or(text).to_owned(),
    }
}

/// The texts between the lines with the boundary.
fn parts<'t>(body: &'t str, boundary: &str) -> Vec<&'t str> {
    let is_separator = |line: &str| line.strip_prefix("--") == Some(boundary);
    let is_end = |line: &str| line.strip_suffix("--").is_some_and(is_separator);
    let (mut parts, mut start, mut line_start) = (Vec::new(), None, 0_usize);
    for line in body.split_inclusive('\n') {
        let line_end = line_start.saturating_add(line.len());
        let text = line.trim_end();
        if is_separator(text) || is_end(text) {
            parts.extend(start.and_then(|start| body.get(start..line_start)));
            start = is_separator(text).then_some(line_end);
        }
        line_start = line_end;
    }
    parts.extend(start.and_then(|start: usize| body.get(start..)));
    parts
}
