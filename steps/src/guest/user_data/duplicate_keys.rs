//! Keys that a mapping has twice: PyYAML takes the last, and says nothing.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};

use super::InputProblem;

/// A part that is open.
struct Part {
    /// The lines of the keys that it has so far; `None` for a list.
    keys: Option<BTreeMap<String, usize>>,
    /// Whether the next node of a mapping is a key.
    is_at_key: bool,
}

/// A doubt about the first key that is there twice: the first value, such as a list of commands, is lost.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let mut parts: Vec<Part> = Vec::new();
    for (event, span) in Parser::new_from_str(text).map_while(Result::ok) {
        let begun = match event {
            Event::MappingStart(..) => Some(Some(BTreeMap::new())),
            Event::SequenceStart(..) => Some(None),
            Event::Scalar(value, style, ..) => {
                // Each `<<` of a mapping counts.
                let is_merge = style == ScalarStyle::Plain && value == "<<";
                let line = span.start.line();
                if let Some(first) = take_key(&mut parts, &value, line).filter(|_| !is_merge) {
                    return Some(twice(&value, first, line));
                }
                None
            }
            Event::Alias(_) => {
                end_node(&mut parts);
                None
            }
            Event::SequenceEnd | Event::MappingEnd => {
                parts.pop();
                end_node(&mut parts);
                None
            }
            _ => None,
        };
        parts.extend(begun.map(|keys| Part {
            keys,
            is_at_key: true,
        }));
    }
    None
}

/// Goes on from a key to its value, or from that to the next key.
fn end_node(parts: &mut [Part]) {
    if let Some(part) = parts.last_mut() {
        part.is_at_key = !part.is_at_key;
    }
}

/// Takes a text. Returns the line of the same key, if it is a key that was there before.
fn take_key(parts: &mut [Part], value: &str, line: usize) -> Option<usize> {
    let part = parts.last_mut()?;
    let is_key = part.is_at_key;
    part.is_at_key = !is_key;
    let keys = part.keys.as_mut().filter(|_| is_key)?;
    keys.insert(value.to_owned(), line)
}

fn twice(key: &str, first: usize, second: usize) -> InputProblem {
    let is_word = |c: char| c.is_ascii_alphanumeric() || ['-', '_', '.'].contains(&c);
    let is_shown = key.len() <= 80 && key.chars().all(is_word);
    let shown_key = if is_shown { key } else { "…" };
    InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            format!(
                "its key `{shown_key}` of line {first} is there again in line {second}, and the last one alone counts"
            ),
            "write what both have below one key",
        )
    }
}
