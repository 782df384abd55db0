//! Parses YAML text into trees, within limits.

use serde_saphyr::{Error, NonFiniteFloatPolicy, Options};
use vsiflow_workflows::spec::ProblemCode;

use crate::node::{YamlMark, YamlNode};

/// How many nodes one document may have. A list of a thousand objects dumped by a cluster has fewer.
const MAX_NODES: usize = 200_000;

/// How many nodes aliases may repeat in one document.
const MAX_REPEATED: usize = 20_000;

/// How deep one document may be nested.
const DEEPEST: usize = 64;

/// The message for a document that exceeds a limit.
const TOO_MUCH: &str = "the document is larger, deeper or repeats itself more than any manifest";

/// Why a text cannot be parsed.
#[derive(Clone, Debug)]
pub(crate) struct YamlError {
    pub(crate) code: ProblemCode,
    pub(crate) at: YamlMark,
    pub(crate) message: String,
    pub(crate) remedy: &'static str,
    /// How many nodes were possibly parsed before the error.
    pub(crate) cost: usize,
}

/// Limits that no real manifest reaches, and that stop an alias bomb after a few milliseconds.
fn options() -> Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: DEEPEST,
            flow_nesting_limit: DEEPEST,
            max_nodes: MAX_NODES,
            max_events: 4 * MAX_NODES,
            max_recorded_anchor_events: 4 * MAX_REPEATED,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: MAX_REPEATED },
        strict_booleans: true,
        ignore_binary_tag_for_string: true,
        non_finite_float_policy: NonFiniteFloatPolicy::AsString,
        with_snippet: false,
    }
}

/// The stack size in bytes for the deepest permitted document, with a large reserve. A runtime thread has too
/// small a stack for it.
const STACK: usize = 32 << 20;

/// Parses one document in a thread whose stack suffices for the deepest permitted document.
pub(crate) fn parse(text: &str) -> Result<YamlNode, YamlError> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK);
        match thread.spawn_scoped(scope, || read(text)) {
            Ok(reading) => reading.join().unwrap_or_else(|_| Err(defect())),
            // If no thread can be started, parse in this one.
            Err(_) => read(text),
        }
    })
}

fn read(text: &str) -> Result<YamlNode, YamlError> {
    serde_saphyr::from_str_with_options::<YamlNode>(text, options())
        .map_err(|error| explain(&error))
}

/// The error if the parser itself panicked.
fn defect() -> YamlError {
    YamlError {
        code: ProblemCode::NotYaml,
        at: YamlMark::default(),
        message: TOO_MUCH.to_owned(),
        remedy: "write it in a simpler way, and tell the makers of vsiflow",
        cost: 0,
    }
}

fn explain(error: &Error) -> YamlError {
    let at = error.location().map(YamlMark::from).unwrap_or_default();
    let error = original(error);
    let (code, message, remedy) = match error {
        Error::DuplicateMappingKey { key, .. } => (
            ProblemCode::Twice,
            key.as_ref()
                .map_or("a field occurs twice".to_owned(), |key| {
                    format!("the field {} occurs twice", shorten(key))
                }),
            "remove one of them",
        ),
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => (
            ProblemCode::NotYaml,
            TOO_MUCH.to_owned(),
            "write it without so many aliases (`*name`), or in several documents",
        ),
        other => (ProblemCode::NotYaml, describe(other), remedy(other)),
    };
    let cost = if message == TOO_MUCH { MAX_REPEATED } else { 1 };
    YamlError {
        code,
        at,
        message,
        remedy,
        cost,
    }
}

/// The error without its wrappers.
fn original(error: &Error) -> &Error {
    match error {
        Error::AliasError { error, .. } | Error::WithSnippet { error, .. } => original(error),
        other => other,
    }
}

/// The parser's message without the position, which the diagnostic shows separately.
fn describe(error: &Error) -> String {
    let text = error.to_string();
    let place = text
        .rfind(" at line ")
        .and_then(|end| text.get(..end))
        .unwrap_or(&text);
    format!("this is not YAML: {}", shorten(place))
}

/// The remedy for what the parser reports. It has no codes: its scanner and its loader give these texts only,
/// as libyaml does.
fn remedy(error: &Error) -> &'static str {
    let text = error.to_string();
    if text.contains("tabs") {
        "indent with spaces; YAML permits no tabs"
    } else if text.contains("unknown anchor") {
        "put the text in quotes if it is to begin with `*`"
    } else if text.contains("mapping values are not allowed") {
        "put the text in quotes if it is to contain `: `"
    } else {
        "check indentation and quotes here and in the lines above"
    }
}

/// Limits the length of a text that came from a document.
fn shorten(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(160)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alias_bombs_are_stopped_early() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..10 {
            let line = format!(
                "a{level}: &a{level} [{}]\n",
                vec![format!("*a{}", level - 1); 10].join(", ")
            );
            bomb.push_str(&line);
        }
        let error = parse(&bomb).unwrap_err();
        assert_eq!(error.code, ProblemCode::NotYaml);
        assert!(
            error.message.contains("repeats itself"),
            "{}",
            error.message
        );
    }

    #[test]
    fn deep_nesting_is_stopped() {
        for text in [
            "[".repeat(100_000),
            "{a: ".repeat(100_000),
            "- ".repeat(100_000),
        ] {
            assert_eq!(parse(&text).unwrap_err().code, ProblemCode::NotYaml);
        }
    }

    #[test]
    fn a_field_may_stand_once() {
        let error = parse("a: 1\nb: 2\na: 3\n").unwrap_err();
        assert_eq!((error.code, error.at.line), (ProblemCode::Twice, 3));
    }

    #[test]
    fn json_is_read_too() {
        assert!(
            parse("{\n\t\"kind\": \"List\",\n\t\"items\": [\n\t\t{\"a\": null}\n\t]\n}").is_ok()
        );
    }

    #[test]
    fn the_deepest_document_is_read_on_any_threads_stack() {
        let deep = format!("{}{}", "[".repeat(DEEPEST), "]".repeat(DEEPEST));
        let thread = std::thread::Builder::new().stack_size(128 << 10);
        let read = thread.spawn(move || parse(&deep).is_ok()).unwrap();
        // It may be read or refused, but must not crash the process.
        read.join().unwrap();
    }
}
