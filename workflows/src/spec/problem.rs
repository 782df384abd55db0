//! Problems of documents, in a form that any front end can print.

use std::fmt;

use serde::Serialize;

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
