//! What PyYAML, with which cloud-init reads YAML, refuses although it is YAML: it has rules of YAML 1.1, and numbers
//! and dates that Python cannot represent.

use std::collections::BTreeSet;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle};

use super::{InputProblem, python_scalars};

/// The characters other than a line feed and a carriage return at which PyYAML ends a line.
const LINE_ENDS: [char; 3] = ['\u{85}', '\u{2028}', '\u{2029}'];

const QUOTE: &str = "put the text into quotation marks";

/// The problem of a text that is YAML, if PyYAML refuses it.
pub(super) fn check(text: &str) -> Option<InputProblem> {
    let mut walk = Walk::new(text);
    let options = granit_parser::options! { emit_anchor_events: true };
    let mut events = Parser::new_from_str_with_options(text, options)
        .map_while(Result::ok)
        .filter(|(event, _)| !matches!(event, Event::Comment(..)));
    let refused = events.find_map(|(event, span)| walk.take(&event, span));
    let line_end = || walk.line_end_before(text.len());
    refused.or_else(line_end)
}

/// A part that is open.
struct Part {
    is_mapping: bool,
    is_flow: bool,
    /// Whether the next node of a mapping is a key.
    at_key: bool,
    /// Whether the key that waits for its value includes other mappings.
    is_merge: bool,
}

/// A walk over the events of a text.
struct Walk<'t> {
    text: &'t str,
    parts: Vec<Part>,
    anchors: BTreeSet<String>,
    /// Where the last quoted text ended.
    quoted_until: usize,
}

impl<'t> Walk<'t> {
    fn new(text: &'t str) -> Self {
        Self {
            text,
            parts: Vec::new(),
            anchors: BTreeSet::new(),
            quoted_until: 0,
        }
    }

    fn take(&mut self, event: &Event<'_>, span: Span) -> Option<InputProblem> {
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                None
            }
            Event::Anchor(_, name) => self.take_anchor(name, span),
            Event::Scalar(value, style, anchor, tag) => {
                let is_bare = *anchor == 0 && tag.is_none();
                let refused = match (style, tag) {
                    (ScalarStyle::Plain, None) => self.check_plain(value, span, is_bare),
                    (ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted, _) => {
                        self.pass_quoted(span)
                    }
                    _ => None,
                };
                let problem = refused.or_else(|| self.check_flow_key(span));
                let is_merge = *style == ScalarStyle::Plain && value == "<<";
                self.end_node(is_merge);
                problem
            }
            Event::SequenceStart(style, ..) => self.open(false, *style),
            Event::MappingStart(style, ..) => self.open(true, *style),
            Event::SequenceEnd | Event::MappingEnd => {
                self.parts.pop();
                self.end_node(false);
                None
            }
            Event::Alias(_) => {
                self.end_node(false);
                None
            }
            _ => None,
        }
    }

    fn open(&mut self, is_mapping: bool, style: StructureStyle) -> Option<InputProblem> {
        self.parts.push(Part {
            is_mapping,
            is_flow: style == StructureStyle::Flow,
            at_key: true,
            is_merge: false,
        });
        None
    }

    /// Goes on from a key to its value, or from that to the next key.
    fn end_node(&mut self, is_merge: bool) {
        if let Some(part) = self.parts.last_mut() {
            part.is_merge = part.at_key && is_merge;
            part.at_key = !part.at_key;
        }
    }

    fn is_key(&self) -> bool {
        let part = self.parts.last();
        part.is_some_and(|part| part.is_mapping && part.at_key)
    }

    fn take_anchor(&mut self, name: &str, span: Span) -> Option<InputProblem> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if !name.chars().all(is_word) {
            let remedy = "write letters, digits, - and _ only; put a text that begins with & into quotation marks";
            return Some(at_line(
                "the name of an anchor has other characters than letters",
                remedy,
                span,
            ));
        }
        let is_new = self.anchors.insert(name.to_owned());
        let message = "an anchor is defined twice, which cloud-init refuses";
        (!is_new).then(|| at_line(message, "give each `&` its own name", span))
    }

    fn check_plain(&self, value: &str, span: Span, is_bare: bool) -> Option<InputProblem> {
        let part = self.parts.last();
        if is_bare && span.is_empty() && self.is_key() && !self.is_explicit(span) {
            return Some(at_line(
                "a key is missing before a colon",
                "write the key",
                span,
            ));
        }
        if ["=", "<<"].contains(&value) && !self.is_key() {
            let message = format!("`{value}` is a word of YAML, for which cloud-init has no value");
            return Some(at_line(&message, QUOTE, span));
        }
        if part.is_some_and(|part| part.is_mapping && part.is_merge) {
            let remedy = "write a mapping or an alias of one behind `<<:`";
            return Some(at_line(
                "`<<` has no mapping that it includes",
                remedy,
                span,
            ));
        }
        let is_flow = part.is_some_and(|part| part.is_flow);
        let has_mark = value.chars().skip(1).any(|c| c == '?');
        if is_flow && (has_mark || value.starts_with(':')) {
            let message = "a text within brackets has a question mark, or begins with a colon";
            return Some(at_line(message, QUOTE, span));
        }
        let message = python_scalars::refused(value)?;
        Some(at_line(message, QUOTE, span))
    }

    /// Whether a question mark stands before the key.
    fn is_explicit(&self, span: Span) -> bool {
        let preceding = span.byte_range().and_then(|key| self.text.get(..key.start));
        preceding.is_some_and(|text| text.trim_end().ends_with('?'))
    }

    /// PyYAML reads the key of a mapping in braces and its colon from one line.
    fn check_flow_key(&self, span: Span) -> Option<InputProblem> {
        let is_flow = self.parts.last().is_some_and(|part| part.is_flow);
        if !is_flow || !self.is_key() || self.is_explicit(span) {
            return None;
        }
        let key = span.byte_range()?;
        let behind = self.text.get(key.end..)?;
        let spaces = behind.find(|c: char| !c.is_whitespace())?;
        if !behind.get(spaces..)?.starts_with(':') {
            return None;
        }
        let to_colon = self.text.get(key.start..key.end.saturating_add(spaces))?;
        let message = "a key within braces and its colon are not in one line";
        let is_split = to_colon.contains('\n');
        is_split.then(|| at_line(message, "write the key and its colon into one line", span))
    }

    /// Passes over a quoted text, in which every character may be.
    fn pass_quoted(&mut self, span: Span) -> Option<InputProblem> {
        let quoted = span.byte_range()?;
        let line_end = self.line_end_before(quoted.start);
        self.quoted_until = self.quoted_until.max(quoted.end);
        line_end
    }

    fn line_end_before(&self, end: usize) -> Option<InputProblem> {
        let between = self.text.get(self.quoted_until..end)?;
        let found_at = between.find(LINE_ENDS)?;
        let preceding = self
            .text
            .get(..self.quoted_until.saturating_add(found_at))?;
        let line = preceding.matches('\n').count().saturating_add(1);
        let code = between.get(found_at..)?.chars().next().map_or(0, u32::from);
        let message = format!(
            "it has the character U+{code:04X} outside of quotation marks, at which cloud-init ends a line (line {line})"
        );
        let remedy = "remove the character, or put the text into quotation marks";
        Some(InputProblem::new(message, remedy))
    }
}

fn at_line(message: &str, remedy: &'static str, span: Span) -> InputProblem {
    InputProblem::new(format!("{message} (line {})", span.start.line()), remedy)
}

#[cfg(test)]
mod tests;
