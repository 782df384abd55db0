//! A file's text as it may be shown, and where its documents stand in it.

use std::sync::Arc;

use vsiflow_workflows::spec::{FieldPath, PathSegment, Problem, ProblemCode};

use crate::diagnostic::{Diagnostic, Snippet};
use crate::node::{YamlMark, YamlNode};
use crate::redact::RedactedLine;

/// The widest part of a line that is shown.
const WIDEST: usize = 100;

/// A file: its name and its lines without secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct DocumentSource {
    pub(crate) name: String,
    pub(crate) lines: Vec<RedactedLine>,
}

impl DocumentSource {
    /// Points a diagnostic at a place, which counts lines from `lines_before` on.
    pub(crate) fn point(&self, diagnostic: &mut Diagnostic, mark: YamlMark, lines_before: usize) {
        if mark.line == 0 {
            return;
        }
        let number = mark.line.saturating_add(lines_before);
        diagnostic.line = Some(number);
        diagnostic.column = Some(mark.column.max(1));
        diagnostic.snippet = self.lines.get(number - 1).map(|line| snippet(line, mark));
    }
}

/// The line around the mark. Where something before the mark was hidden, no caret can be placed.
fn snippet(line: &RedactedLine, mark: YamlMark) -> Snippet {
    let start = mark.column.saturating_sub(1);
    let length = line.text.chars().count();
    let visible = start <= line.intact && start <= length;
    let first = if start > WIDEST {
        start - WIDEST / 2
    } else {
        0
    };
    let text: String = line.text.chars().skip(first).take(WIDEST).collect();
    let room = text.chars().count().saturating_sub(start - first).max(1);
    let text = text.trim_end().to_owned();
    if visible {
        Snippet {
            text,
            start: start - first,
            length: mark.length.clamp(1, room),
        }
    } else {
        Snippet {
            text: line.text.chars().take(WIDEST).collect(),
            start: 0,
            length: 0,
        }
    }
}

/// Where a document stands: its file, and its place there.
#[derive(Clone, Debug)]
pub(crate) struct SourcePosition {
    /// The file's number.
    pub(crate) source: usize,
    /// Lines before the text it was read from.
    pub(crate) lines_before: usize,
    /// The document, or its list, without texts.
    pub(crate) outline: Arc<YamlNode>,
    /// The way to it, where it is an item of a list.
    pub(crate) prefix: Vec<PathSegment>,
    /// Its kind and name, as far as they are known.
    pub(crate) object: Option<String>,
}

impl SourcePosition {
    /// The path as it is in the text.
    pub(crate) fn full(&self, path: &FieldPath) -> FieldPath {
        FieldPath(self.prefix.iter().chain(&path.0).cloned().collect())
    }

    /// What to point at for a path in this document.
    pub(crate) fn mark(&self, path: &FieldPath, at_key: bool) -> YamlMark {
        let start = || YamlMark {
            length: 1,
            ..self.outline.at
        };
        self.outline
            .mark(&self.full(path), at_key)
            .unwrap_or_else(start)
    }

    /// A diagnostic of this document.
    pub(crate) fn diagnostic(
        &self,
        sources: &[DocumentSource],
        (code, path, at_key): (ProblemCode, &FieldPath, bool),
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Diagnostic {
        let name = sources
            .get(self.source)
            .map(|source| source.name.as_str())
            .unwrap_or_default();
        let mut diagnostic = Diagnostic::of_file(name, code, message, remedy);
        diagnostic.object.clone_from(&self.object);
        let full = self.full(path);
        diagnostic.field = (!full.is_empty()).then(|| full.to_string());
        if let Some(source) = sources.get(self.source) {
            source.point(&mut diagnostic, self.mark(path, at_key), self.lines_before);
        }
        diagnostic
    }

    /// The diagnostic of a problem that was found after reading.
    pub(crate) fn problem(&self, sources: &[DocumentSource], problem: &Problem) -> Diagnostic {
        let path = self.as_written(&problem.path);
        let at_key = problem.code != ProblemCode::WrongValue;
        let what = (problem.code, &path, at_key);
        self.diagnostic(
            sources,
            what,
            problem.message.clone(),
            problem.remedy.clone(),
        )
    }

    /// A Secret's value may stand in `stringData`, where a problem says `data`.
    fn as_written(&self, path: &FieldPath) -> FieldPath {
        let [PathSegment::Key(data), rest @ ..] = path.0.as_slice() else {
            return path.clone();
        };
        let mut other = vec![PathSegment::Key("stringData".to_owned())];
        other.extend_from_slice(rest);
        let other = FieldPath(other);
        let there = self.outline.find(&self.full(&other).0).is_some();
        if data == "data" && there {
            other
        } else {
            path.clone()
        }
    }
}
