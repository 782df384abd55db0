//! Looks into the parts of a MIME message, of which cloud-init reads each by its type.

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

use super::{InputProblem, YamlShape, check_yaml, form_of};

/// How many parts are looked at.
const PARTS_MAX: usize = 64;

/// The problem of the first part that cloud-init would ignore. A message whose parts cannot be told apart has none.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let (head, body) = split_head(text);
    let content_type = header(head, "content-type")?;
    let boundary = parameter(content_type, "boundary")?;
    let parts = parts(body, boundary).into_iter().take(PARTS_MAX);
    (1..).zip(parts).find_map(|(number, part)| {
        let problem = check_part(part)?;
        Some(InputProblem {
            message: format!("of its part {number}, {}", problem.message),
            ..problem
        })
    })
}

fn check_part(part: &str) -> Option<InputProblem> {
    let (head, content) = split_head(part);
    let content_type = header(head, "content-type").unwrap_or("text/plain");
    let encoding = header(head, "content-transfer-encoding").unwrap_or("8bit");
    let content = decoded(content, encoding)?;
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let is_config = match kind.to_lowercase().as_str() {
        "text/cloud-config" => true,
        // cloud-init tells the type of such a part by its content.
        "text/plain" | "text/x-not-multipart" => form_of(&content) == Some("#cloud-config"),
        _ => false,
    };
    if is_config {
        check_yaml(&content, YamlShape::Mapping)
    } else {
        None
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
