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
        for length in (0..=path.len()).rev() {
            let prefix = path.get(..length).unwrap_or_default();
            let node = document.find(prefix);
            if let Some(origin) = node.and_then(|node| self.0.get(&place(node.at))) {
                return origin.clone();
            }
        }
        FieldPath::default()
    }
}

fn place(mark: YamlMark) -> (usize, usize) {
    (mark.line, mark.column)
}
