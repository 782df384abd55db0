//! Reads objects field by field. Refuses every field that the translation did not read, so nothing is
//! dropped.

use vsiflow_workflows::spec::{FieldPath, ProblemCode};

use crate::node::{Value, YamlEntry, YamlNode};

/// A refused field or value, with its path.
#[derive(Debug)]
pub(super) struct FieldRefusal {
    pub(super) code: ProblemCode,
    pub(super) path: FieldPath,
    pub(super) at_key: bool,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// All refusals of one document.
#[derive(Debug, Default)]
pub(super) struct Refusals(pub(super) Vec<FieldRefusal>);

impl Refusals {
    /// Refuses a field that has no counterpart in vsiflow.
    pub(super) fn unsupported(&mut self, path: FieldPath, remedy: &str) {
        self.0.push(FieldRefusal {
            code: ProblemCode::UnknownField,
            message: format!("{path} is not supported"),
            path,
            at_key: true,
            remedy: remedy.to_owned(),
        });
    }

    /// Refuses a value that has no counterpart in vsiflow.
    pub(super) fn wrong(&mut self, path: FieldPath, message: &str, remedy: &str) {
        self.push(ProblemCode::WrongValue, path, message, remedy);
    }

    /// Refuses a name that another object has.
    pub(super) fn twice(&mut self, path: FieldPath, message: &str, remedy: &str) {
        self.push(ProblemCode::Twice, path, message, remedy);
    }

    /// Refuses an object without a required field.
    pub(super) fn missing(&mut self, path: FieldPath, remedy: &str) {
        let message = format!("{path} is missing");
        self.push(ProblemCode::MissingField, path, &message, remedy);
    }

    fn push(&mut self, code: ProblemCode, path: FieldPath, message: &str, remedy: &str) {
        self.0.push(FieldRefusal {
            code,
            path,
            at_key: false,
            message: message.to_owned(),
            remedy: remedy.to_owned(),
        });
    }
}

/// The fields of an object that were not read yet.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    path: FieldPath,
    left: Vec<&'n YamlEntry>,
}

impl<'n> Fields<'n> {
    /// The fields of this node; a node that is not an object is refused.
    pub(super) fn of(node: &'n YamlNode, path: FieldPath, refusals: &mut Refusals) -> Self {
        let left = match &node.value {
            Value::Map(entries) => {
                let present = |entry: &&YamlEntry| !matches!(entry.node.value, Value::Null);
                entries.iter().filter(present).collect()
            }
            Value::Null => Vec::new(),
            other => {
                let message = format!("{path} is {}, and must be an object", other.words());
                refusals.wrong(path.clone(), &message, "write it as an object");
                Vec::new()
            }
        };
        Self { path, left }
    }

    /// The path of a field.
    pub(super) fn path(&self, key: &str) -> FieldPath {
        self.path.clone().key(key)
    }

    /// The path of the object itself.
    pub(super) fn own_path(&self) -> FieldPath {
        self.path.clone()
    }

    /// Takes a field, if it is present.
    pub(super) fn take(&mut self, key: &str) -> Option<&'n YamlNode> {
        let at = self.left.iter().position(|entry| entry.key == key)?;
        Some(&self.left.remove(at).node)
    }

    /// A field that was not taken yet.
    pub(super) fn peek(&self, key: &str) -> Option<&'n YamlNode> {
        let entry = self.left.iter().find(|entry| entry.key == key)?;
        Some(&entry.node)
    }

    /// Takes a field that must be text.
    pub(super) fn text(&mut self, key: &str, refusals: &mut Refusals) -> Option<&'n YamlNode> {
        let node = self.take(key)?;
        if node.text().is_none() {
            let path = self.path(key);
            let message = format!("{path} is {}, and must be text", node.value.words());
            refusals.wrong(path, &message, "write it in quotes");
            return None;
        }
        Some(node)
    }

    /// Takes a field that must be an object; an empty one if the field is absent.
    pub(super) fn object(&mut self, key: &str, refusals: &mut Refusals) -> Self {
        let path = self.path(key);
        match self.take(key) {
            Some(node) => Self::of(node, path, refusals),
            None => Self {
                path,
                left: Vec::new(),
            },
        }
    }

    /// Takes an object whose values must be texts, such as labels; none if the field is absent.
    pub(super) fn texts(
        &mut self,
        key: &str,
        refusals: &mut Refusals,
    ) -> Vec<(&'n str, &'n YamlNode)> {
        let mut object = self.object(key, refusals);
        let keys: Vec<_> = object.left.iter().map(|entry| entry.key.as_str()).collect();
        let texts = keys.into_iter();
        texts
            .filter_map(|text_key| Some((text_key, object.text(text_key, refusals)?)))
            .collect()
    }

    /// Takes a list of objects; an empty one if the field is absent.
    pub(super) fn list(&mut self, key: &str, refusals: &mut Refusals) -> Vec<Self> {
        let path = self.path(key);
        let nodes = match self.take(key).map(|node| &node.value) {
            Some(Value::List(nodes)) => nodes,
            Some(other) => {
                let message = format!("{path} is {}, and must be a list", other.words());
                refusals.wrong(path, &message, "write it as a list");
                return Vec::new();
            }
            None => return Vec::new(),
        };
        let elements = nodes.iter().enumerate();
        elements
            .map(|(index, node)| Self::of(node, path.clone().index(index), refusals))
            .collect()
    }

    /// Whether a field is present and was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|entry| entry.key == key)
    }

    /// Refuses a field with a specific remedy.
    pub(super) fn refuse(&mut self, key: &str, remedy: &str, refusals: &mut Refusals) {
        if self.take(key).is_some() {
            refusals.unsupported(self.path(key), remedy);
        }
    }

    /// Refuses all fields that were not taken.
    pub(super) fn end(self, refusals: &mut Refusals) {
        for entry in self.left {
            refusals.unsupported(
                self.path.clone().key(&entry.key),
                "remove it; docs/reference/kubevirt.md lists the fields that are taken",
            );
        }
    }
}

/// An object with these fields, without those that have no value.
pub(super) fn object<const N: usize>(fields: [(&str, Option<YamlNode>); N]) -> YamlNode {
    let present = fields.into_iter();
    let present = present.filter_map(|(key, node)| Some(entry(key, node?)));
    YamlNode::nowhere(Value::Map(present.collect()))
}

/// A field with the position of its value.
pub(super) fn entry(key: &str, node: YamlNode) -> YamlEntry {
    YamlEntry {
        key: key.to_owned(),
        key_at: node.at,
        node,
    }
}

/// Text without a position in a file.
pub(super) fn text(text: &str) -> YamlNode {
    YamlNode::nowhere(Value::Text(text.to_owned()))
}

/// Another value at the position of `node`.
pub(super) fn instead(node: &YamlNode, value: Value) -> YamlNode {
    YamlNode {
        value,
        ..node.clone()
    }
}

/// A list node; `None` for an empty list.
pub(super) fn list(nodes: Vec<YamlNode>) -> Option<YamlNode> {
    (!nodes.is_empty()).then(|| YamlNode::nowhere(Value::List(nodes)))
}
