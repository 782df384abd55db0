//! `-o jsonpath=…`, as in kubectl: text, `{.path}`, `{"text"}`, and `{range .items[*]}…{end}`.
//!
//! Paths are evaluated as in RFC 9535. Source of the template's form: "JSONPath Support" of kubectl's
//! reference.

mod path;

use std::str::FromStr;

use serde_json::Value;

pub(crate) use path::ValuePath;

/// How deep ranges may be nested.
const DEPTH: usize = 8;
/// How many times nested ranges may repeat a value.
const WIDTH_MAX: usize = 64;
/// Maximum length of a template, in bytes.
const TEXT_MAX: usize = 16 * 1024;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Template {
    parts: Vec<TemplatePart>,
}

#[derive(Clone, Debug, PartialEq)]
enum TemplatePart {
    Text(String),
    Path(ValuePath),
    Range(ValuePath, Vec<TemplatePart>),
}

impl FromStr for Template {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("the template is longer than {TEXT_MAX} bytes"));
        }
        let mut rest = text;
        let parts = parts(&mut rest, 0)?;
        if width_of(&parts) > WIDTH_MAX {
            return Err(format!(
                "its ranges may repeat a value more than {WIDTH_MAX} times"
            ));
        }
        if rest.is_empty() {
            Ok(Self { parts })
        } else {
            Err("{end} without {range}".to_owned())
        }
    }
}

/// The parts up to the end of the text, or to the `{end}` of the enclosing range.
fn parts(rest: &mut &str, depth: usize) -> Result<Vec<TemplatePart>, String> {
    if depth > DEPTH {
        return Err(format!("ranges lie more than {DEPTH} deep in one another"));
    }
    let mut parts = Vec::new();
    while let Some((text, behind)) = rest.split_once('{') {
        push_text(&mut parts, text);
        let (inner, behind) = braced(behind).ok_or("a { is not closed")?;
        let word = inner.trim();
        if word == "end" {
            if depth == 0 {
                return Ok(parts);
            }
            *rest = behind;
            return Ok(parts);
        }
        *rest = behind;
        if let Some(path) = word.strip_prefix("range ") {
            let path = path_of(path)?;
            parts.push(TemplatePart::Range(
                path,
                self::parts(rest, depth.saturating_add(1))?,
            ));
        } else if let Some(quoted) = quoted(word) {
            parts.push(TemplatePart::Text(unescaped(quoted)));
        } else {
            parts.push(TemplatePart::Path(path_of(word)?));
        }
    }
    if depth > 0 {
        return Err("{range} without {end}".to_owned());
    }
    push_text(&mut parts, rest);
    *rest = "";
    Ok(parts)
}

fn push_text(parts: &mut Vec<TemplatePart>, text: &str) {
    if !text.is_empty() {
        parts.push(TemplatePart::Text(text.to_owned()));
    }
}

/// The text before the closing brace, and the text after it. A brace within quotes does not count.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut quote = None;
    let end = text.char_indices().find_map(|(at, c)| {
        match (c, quote) {
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(open)) if c == open => quote = None,
            _ => {}
        }
        (c == '}' && quote.is_none()).then_some(at)
    })?;
    Some((text.get(..end)?, text.get(end.checked_add(1)?..)?))
}

fn quoted(word: &str) -> Option<&str> {
    let inner = |quote: char| word.strip_prefix(quote)?.strip_suffix(quote);
    inner('"').or_else(|| inner('\''))
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n").replace("\\t", "\t")
}

/// A path in its full form: `$` may be omitted, and in a range `@` may replace it.
///
/// # Errors
/// If it is not a path, or not within the limits.
pub(crate) fn path_of(word: &str) -> Result<ValuePath, String> {
    let word = word.trim();
    let word = word.strip_prefix('@').unwrap_or(word);
    let path = match word.strip_prefix('$').unwrap_or(word) {
        rest if rest.is_empty() || rest.starts_with(['.', '[']) => format!("${rest}"),
        rest => format!("$.{rest}"),
    };
    let path = if path == "$." { "$".to_owned() } else { path };
    let shown = |error| {
        let word: String = word.chars().take(100).collect();
        format!("{word:?} is not a path that can be used: {error}")
    };
    ValuePath::parse(path).map_err(shown)
}

/// How many times nested ranges may repeat a value.
fn width_of(parts: &[TemplatePart]) -> usize {
    let widths = parts.iter().map(|part| match part {
        TemplatePart::Text(_) => 1,
        TemplatePart::Path(path) => path.width(),
        TemplatePart::Range(path, inner) => path.width().saturating_mul(width_of(inner)),
    });
    widths.max().unwrap_or(1)
}

/// A value as text: strings without quotes, anything else as JSON.
pub(crate) fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Template {
    /// The template filled in.
    pub(crate) fn render(&self, value: &Value) -> String {
        let mut text = String::new();
        render(&self.parts, value, &mut text);
        text
    }
}

fn render(parts: &[TemplatePart], value: &Value, into: &mut String) {
    for part in parts {
        match part {
            TemplatePart::Text(words) => into.push_str(words),
            TemplatePart::Path(path) => {
                let selected = path.select(value).into_iter().map(text_of);
                into.push_str(&selected.collect::<Vec<_>>().join(" "));
            }
            TemplatePart::Range(path, inner) => {
                for selected in path.select(value) {
                    render(inner, selected, into);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn rendered(template: &str) -> String {
        let list = json!({"items": [
            {"metadata": {"name": "a"}, "status": {"phase": "Running", "ips": ["1", "2"]}},
            {"metadata": {"name": "b"}, "status": {"phase": "Failed", "done": 3}},
        ]});
        let template: Template = template.parse().unwrap();
        template.render(&list)
    }

    #[test]
    fn templates_give_what_kubectl_gives() {
        assert_eq!(rendered("{.items[*].metadata.name}"), "a b");
        assert_eq!(rendered("{$.items[0].status.phase}!"), "Running!");
        assert_eq!(rendered("{.items[1].status.done}"), "3");
        assert_eq!(rendered("{.items[0].status.nothing}"), "");
        assert_eq!(
            rendered("{range .items[*]}{.metadata.name}={.status.phase}{\"\\n\"}{end}"),
            "a=Running\nb=Failed\n"
        );
        assert_eq!(
            rendered("{range .items[*]}{@.metadata.name}{'}'}{end}."),
            "a}b}."
        );
        assert_eq!(
            rendered("{.items[?(@.status.phase=='Failed')].metadata.name}"),
            "b"
        );
    }

    #[test]
    fn ranges_that_multiply_one_another_are_refused() {
        let names = vec!["'items'"; 16].join(",");
        let range = format!("{{range $[{names}]}}");
        let nested = format!("{}x{}", range.repeat(3), "{end}".repeat(3));
        let error = nested.parse::<Template>().unwrap_err();
        assert!(error.contains("more than 64 times"), "{error}");
    }

    #[test]
    fn what_is_no_template_is_refused() {
        for wrong in [
            "{.a",
            "{end}",
            "{range .items[*]}x",
            "{.items[}",
            "{range .a}{range .b}{end}",
        ] {
            assert!(wrong.parse::<Template>().is_err(), "{wrong}");
        }
    }
}
