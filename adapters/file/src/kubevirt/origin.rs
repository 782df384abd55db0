//! The paths that a manifest has, by position: a problem of a translated document names the field of its
//! manifest.

use std::collections::HashMap;

use vsiflow_workflows::spec::{FieldPath, PathSegment};

use crate::node::{Value, YamlMark, YamlNode};

/// The paths of a manifest's values, by line and column.
#[derive(Debug, Default)]
pub(crate) struct OriginPaths(HashMap<(usize, usize), FieldPath>);

impl OriginPaths {
    /// The paths of this manifest.
    pub(crate) fn of(manifest: &YamlNode) -> Self {
        let mut paths = Self::default();
        paths.add(manifest, FieldPath::default());
        paths
    }

    fn add(&mut self, node: &YamlNode, path: FieldPath) {
        match &node.value {
            Value::Map(entries) => {
                for entry in entries {
                    self.add(&entry.node, path.clone().key(&entry.key));
                }
            }
            Value::List(nodes) => {
                for (index, item) in nodes.iter().enumerate() {
                    self.add(item, path.clone().index(index));
                }
            }
            _ => {}
        }
        // Where a list or object begins with its first value, the path is that of the outer one.
        self.0.insert(place(node.at), path);
    }

    /// The path in the manifest of what is at this path in the document that was made of it: its own, or that
    /// of the nearest part around it that the manifest has.
    pub(crate) fn path(&self, document: &YamlNode, path: &[PathSegment]) -> FieldPath {
        let origin = prefixes(path).find_map(|prefix| self.exact(document, prefix));
        match origin {
            Some(origin) if !origin.is_empty() => origin,
            _ => self.nearest(path),
        }
    }

    /// The path in the manifest of the very value at this path of the document; `None` if the manifest does not
    /// have it: what was added to the document is placed at the begin of the manifest.
    pub(crate) fn exact(&self, document: &YamlNode, path: &[PathSegment]) -> Option<FieldPath> {
        let node = document.find(path)?;
        let origin = self.0.get(&place(node.at))?;
        (!origin.is_empty() || path.is_empty()).then(|| origin.clone())
    }

    /// The longest part of the path that the manifest has itself.
    fn nearest(&self, path: &[PathSegment]) -> FieldPath {
        let is_there = |prefix: &[PathSegment]| self.0.values().any(|own| own.0 == prefix);
        let nearest = prefixes(path).find(|prefix| is_there(prefix));
        FieldPath(nearest.unwrap_or_default().to_vec())
    }
}

/// The path and what is around it, from the inside to the outside.
fn prefixes(path: &[PathSegment]) -> impl Iterator<Item = &[PathSegment]> {
    let lengths = (0..=path.len()).rev();
    lengths.map(|length| path.get(..length).unwrap_or_default())
}

fn place(mark: YamlMark) -> (usize, usize) {
    (mark.line, mark.column)
}

/// The paths of a field in a translated document and in its manifest.
pub(crate) struct TranslatedPath<'p> {
    pub(crate) ours: &'p FieldPath,
    pub(crate) theirs: Option<&'p FieldPath>,
}

impl TranslatedPath<'_> {
    /// A message about the field.
    pub(crate) fn message(&self, message: &str) -> String {
        match self.theirs {
            Some(theirs) => message.replacen(&self.ours.to_string(), &theirs.to_string(), 1),
            None => message.to_owned(),
        }
    }

    /// The remedy for a problem of the field.
    pub(crate) fn remedy(&self, remedy: &str) -> String {
        if *self.ours == FieldPath::of(["spec", "targetSelector"]) {
            return AT_TARGET.to_owned();
        }
        let (ours, theirs) = (last_key(Some(self.ours)), last_key(self.theirs));
        match (ours, theirs) {
            (Some("imageURL"), Some("image")) => "write image: registry/repository:tag".to_owned(),
            (Some(ours), Some(theirs)) => {
                remedy.replacen(&format!("{ours}: "), &format!("{theirs}: "), 1)
            }
            _ => remedy.to_owned(),
        }
    }
}

const AT_TARGET: &str =
    "say where it runs: with --target config=lab, or by the label vsiflow.io/target: lab";

fn last_key(path: Option<&FieldPath>) -> Option<&str> {
    match path?.0.last()? {
        PathSegment::Key(key) => Some(key),
        PathSegment::Index(_) => None,
    }
}
