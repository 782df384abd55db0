//! Problems of documents, in a form that any front end can print.

use std::fmt;

use serde::Serialize;

use super::documents::Document;

/// Identifies a document. The front end that read the document makes it, and finds the place again by
/// `index`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct DocumentRef {
    /// The document's number among all documents of one apply, from 0.
    pub index: usize,
    /// Its source: a file name, or `namespace/name` in a cluster.
    pub source: String,
    /// The line that it begins at, from 1, if it came from a text.
    pub line: Option<usize>,
}

impl fmt::Display for DocumentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}", self.source),
            None => f.write_str(&self.source),
        }
    }
}

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathSegment {
    /// A field of an object.
    Key(String),
    /// An element of a list, from 0.
    Index(usize),
}

/// The path to a field: `spec.targetSelector.matchLabels["app.kubernetes.io/name"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldPath(pub Vec<PathSegment>);

impl FieldPath {
    /// A path of object fields: `spec.imageURL`.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self(
            keys.into_iter()
                .map(|key| PathSegment::Key(key.to_owned()))
                .collect(),
        )
    }

    /// Appends a field.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(PathSegment::Key(key.to_owned()));
        self
    }

    /// Appends a list index.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(PathSegment::Index(index));
        self
    }

    /// Whether the path is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Index(index) => write!(f, "[{index}]")?,
                PathSegment::Key(key) if !is_plain(key) => write!(f, "[{key:?}]")?,
                PathSegment::Key(key) if position == 0 => f.write_str(key)?,
                PathSegment::Key(key) => write!(f, ".{key}")?,
            }
        }
        Ok(())
    }
}

/// The name of the last field of a path, of a list's element that of the list; empty if there is none.
pub fn last_key(segments: &[PathSegment]) -> &str {
    let mut keys = segments.iter().rev().filter_map(|segment| match segment {
        PathSegment::Key(key) => Some(key.as_str()),
        PathSegment::Index(_) => None,
    });
    keys.next().unwrap_or_default()
}

/// Whether a key needs no quotes in a path.
fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

impl Serialize for FieldPath {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The kind of a problem, with a code that never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProblemCode {
    /// A file, a directory or standard input cannot be read.
    CannotRead,
    /// The text is not YAML.
    NotYaml,
    /// A field that its kind does not have.
    UnknownField,
    /// A value of the wrong type, or one that is not allowed.
    WrongValue,
    /// A selector that matches nothing.
    MatchesNothing,
    /// The same object, or the same field, occurs twice.
    Twice,
    /// Host settings that cannot be used.
    HostSettings,
    /// A field that must be there is not.
    MissingField,
    /// A kind, or a version of it, that is not known.
    UnknownKind,
    /// There is nothing to apply.
    NothingToApply,
    /// The document refers to something that its author may not use: a file or an address of the
    /// machine that vsiflow runs on.
    NotPermitted,
    /// A host for which another namespace has other settings.
    OthersHost,
    /// A secret in a place where everyone can read it.
    Exposed,
    /// Nothing is wrong so far: its texts for guests are not checked yet, as those of its namespace take long.
    NotChecked,
}

impl ProblemCode {
    /// The code as people see it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CannotRead => "VSI0601",
            Self::NotYaml => "VSI0602",
            Self::UnknownField => "VSI0603",
            Self::WrongValue => "VSI0604",
            Self::MatchesNothing => "VSI0605",
            Self::Twice => "VSI0606",
            Self::HostSettings => "VSI0607",
            Self::MissingField => "VSI0608",
            Self::UnknownKind => "VSI0609",
            Self::NothingToApply => "VSI0610",
            Self::NotPermitted => "VSI0611",
            Self::OthersHost => "VSI0612",
            Self::Exposed => "VSI0613",
            Self::NotChecked => "VSI0614",
        }
    }
}

impl fmt::Display for ProblemCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for ProblemCode {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One problem of a document. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The kind of the problem.
    pub code: ProblemCode,
    /// The document.
    pub document: DocumentRef,
    /// The document's kind.
    pub kind: String,
    /// The document's `namespace/name`.
    pub object: String,
    /// The field.
    pub path: FieldPath,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}: {} {}",
            self.code, self.document, self.kind, self.object
        )?;
        if !self.path.is_empty() {
            write!(f, ", {}", self.path)?;
        }
        write!(f, ": {} ({})", self.message, self.remedy)
    }
}

/// The most problems that are reported of one document. Each may repeat what its author wrote.
const PROBLEMS_MAX: usize = 50;

/// The problems of one document: the first ones, and how many others were found.
#[derive(Debug, Default)]
pub(super) struct ProblemList {
    first: Vec<Problem>,
    more: usize,
    /// The code of the others: that of a missing object if they are nothing else.
    code: Option<ProblemCode>,
}

impl ProblemList {
    pub(super) fn push(&mut self, problem: Problem) {
        if self.first.len() < PROBLEMS_MAX {
            self.first.push(problem);
            return;
        }
        self.more = self.more.saturating_add(1);
        if self.code.is_none() || problem.code != ProblemCode::MatchesNothing {
            self.code = Some(problem.code);
        }
    }

    /// Whether others are only counted.
    pub(super) fn is_full(&self) -> bool {
        self.more > 0
    }
}

impl Extend<Problem> for ProblemList {
    fn extend<T: IntoIterator<Item = Problem>>(&mut self, problems: T) {
        problems.into_iter().for_each(|problem| self.push(problem));
    }
}

/// The problems of all documents.
#[derive(Debug, Default)]
pub(super) struct AllProblems {
    found: Vec<Problem>,
    /// For each document with more problems than are reported, one that says so.
    left_out: Vec<Problem>,
}

impl AllProblems {
    /// Adds what `check` finds in one document.
    pub(super) fn of_document<T, R>(
        &mut self,
        document: &Document<T>,
        check: impl FnOnce(&mut ProblemList) -> R,
    ) -> R {
        let mut own = ProblemList::default();
        let checked = check(&mut own);
        self.found.append(&mut own.first);
        self.left_out.extend(own.code.map(|code| {
            let message = format!("there are at least {} more problems", own.more);
            let remedy = "correct those that are named first";
            document.problem(code, FieldPath::of(["spec"]), message, remedy)
        }));
        checked
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    pub(super) fn append(&mut self, mut others: Self) {
        self.found.append(&mut others.found);
        self.left_out.append(&mut others.left_out);
    }

    /// All of them, by document and field; what says that there are more comes last.
    pub(super) fn sorted(mut self) -> Vec<Problem> {
        let all = &mut self.found;
        all.sort_by(|a, b| (a.document.index, &a.path).cmp(&(b.document.index, &b.path)));
        all.dedup();
        all.append(&mut self.left_out);
        all.sort_by_key(|problem| problem.document.index);
        self.found
    }

    pub(super) fn found(&mut self) -> &mut Vec<Problem> {
        &mut self.found
    }
}

impl From<Vec<Problem>> for AllProblems {
    fn from(found: Vec<Problem>) -> Self {
        Self {
            found,
            left_out: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_read_as_people_write_them() {
        let path = FieldPath::of(["metadata", "labels", "app.kubernetes.io/name"]);
        assert_eq!(
            path.to_string(),
            r#"metadata.labels["app.kubernetes.io/name"]"#
        );
        let indexed = FieldPath::of(["items"]).index(3).key("spec");
        assert_eq!(indexed.to_string(), "items[3].spec");
    }
}
