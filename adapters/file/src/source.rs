//! A file's lines as they may be shown, and the positions of its documents.

use std::sync::Arc;

use vsiflow_workflows::spec::{FieldPath, PathSegment, Problem, ProblemCode};

use crate::kubevirt::origin::{OriginPaths, TranslatedPath};
use crate::node::{YamlMark, YamlNode};
use crate::redact::RedactedLine;
use vsiflow_workflows::spec::{Diagnostic, Snippet};

/// How many characters of a line are shown.
const WIDEST: usize = 100;

/// A file: its name and its lines without secrets.
#[derive(Clone, Debug, Default)]
pub(crate) struct DocumentSource {
    pub(crate) name: String,
    pub(crate) lines: Vec<RedactedLine>,
}

impl DocumentSource {
    /// Adds a position and its line to a diagnostic. `mark` counts lines after `lines_before`.
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

/// The part of the line around the mark. If something before the mark was hidden, no caret can be placed.
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

/// The position of a document: its file, and where it is in the file.
#[derive(Clone, Debug)]
pub(crate) struct SourcePosition {
    /// The index of the file.
    pub(crate) source: usize,
    /// How many lines precede the document's text.
    pub(crate) lines_before: usize,
    /// The document, or the list that it is in, without texts.
    pub(crate) outline: Arc<YamlNode>,
    /// The path to it, if it is an item of a list.
    pub(crate) prefix: Vec<PathSegment>,
    /// The document's kind and name, as far as they are known.
    pub(crate) object: Option<String>,
    /// The paths of the manifest, if it is one of KubeVirt or CDI.
    pub(crate) origin: Option<Arc<OriginPaths>>,
    /// Whether the document was made of that manifest, and the outline is its own.
    pub(crate) is_made: bool,
    /// Where its name is written, if the document was made for a part of a manifest or for another manifest.
    pub(crate) name_at: Option<Arc<NamePlace>>,
}

/// Where the name of a document is written that was made of a manifest.
#[derive(Clone, Debug)]
pub(crate) struct NamePlace {
    pub(crate) place: SourcePosition,
    pub(crate) path: FieldPath,
}

impl SourcePosition {
    /// The path from the root of the text.
    pub(crate) fn full(&self, path: &FieldPath) -> FieldPath {
        FieldPath(self.prefix.iter().chain(&path.0).cloned().collect())
    }

    /// Whether the document was written with this path.
    pub(crate) fn has(&self, path: &FieldPath) -> bool {
        self.outline.find(&self.full(path).0).is_some()
    }

    /// The position to point at for a path in this document.
    pub(crate) fn mark(&self, path: &FieldPath, at_key: bool) -> YamlMark {
        let start = || YamlMark {
            length: 1,
            ..self.outline.at
        };
        self.outline
            .mark(&self.full(path), at_key)
            .unwrap_or_else(start)
    }

    /// The line of the file that the document begins at, or that its name is at if it was made for a part of a
    /// manifest.
    pub(crate) fn line(&self) -> usize {
        if let Some(name) = &self.name_at {
            return name.place.line_of(&name.path);
        }
        self.line_of(&FieldPath::default())
    }

    /// The line of the file that this path is at.
    pub(crate) fn line_of(&self, path: &FieldPath) -> usize {
        let mark = self.mark(path, true);
        mark.line.saturating_add(self.lines_before)
    }

    /// The index of the file that the line is in.
    pub(crate) fn file(&self) -> usize {
        self.name_at
            .as_ref()
            .map_or(self.source, |name| name.place.source)
    }

    /// A diagnostic about this document.
    pub(crate) fn diagnostic(
        &self,
        sources: &[DocumentSource],
        (code, path, at_key): (ProblemCode, &FieldPath, bool),
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Diagnostic {
        if let Some(name) = self.name_at.as_ref().filter(|_| *path == own_name()) {
            let translated = TranslatedPath {
                ours: path,
                theirs: Some(&name.path),
            };
            let (written, advice) = (message.into(), remedy.into());
            let (written, advice) = (translated.message(&written), translated.remedy(&advice));
            let what = (code, &name.path, at_key);
            return name.place.diagnostic(sources, what, written, advice);
        }
        let name = sources
            .get(self.source)
            .map(|source| source.name.as_str())
            .unwrap_or_default();
        let mut diagnostic = Diagnostic::of_file(name, code, message, remedy);
        diagnostic.object.clone_from(&self.object);
        let full = match &self.origin {
            Some(origin) if self.is_made => {
                let exact = origin.exact(&self.outline, &path.0);
                let translated = TranslatedPath {
                    ours: path,
                    theirs: exact.as_ref(),
                };
                diagnostic.message = translated.message(&diagnostic.message);
                diagnostic.remedy = translated.remedy(&diagnostic.remedy);
                origin.path(&self.outline, &path.0)
            }
            _ => self.full(path),
        };
        diagnostic.field = (!full.is_empty()).then(|| full.to_string());
        if let Some(source) = sources.get(self.source) {
            source.point(&mut diagnostic, self.mark(path, at_key), self.lines_before);
        }
        diagnostic
    }

    /// A diagnostic about a problem that was found after reading.
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

    /// A problem names `data`; a Secret's value may be written in `stringData` instead.
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

/// The path of a document's own name.
pub(crate) fn own_name() -> FieldPath {
    FieldPath::of(["metadata", "name"])
}
