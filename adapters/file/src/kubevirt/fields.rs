//! Reads objects field by field, and refuses what nobody asked for: nothing is dropped.

use vsiflow_workflows::spec::{FieldPath, ProblemCode};

use crate::node::{Value, YamlEntry, YamlNode};

/// Something that is refused, and where.
#[derive(Debug)]
pub(super) struct FieldRefusal {
    pub(super) code: ProblemCode,
    pub(super) path: FieldPath,
    pub(super) at_key: bool,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// Everything that is refused of one document.
#[derive(Debug, Default)]
pub(super) struct Refusals(pub(super) Vec<FieldRefusal>);

impl Refusals {
    /// A field that becomes nothing here.
    pub(super) fn unsupported(&mut self, path: FieldPath, remedy: &str) {
        self.0.push(FieldRefusal {
            code: ProblemCode::UnknownField,
            message: format!("{path} is not supported"),
            path,
            at_key: true,
            remedy: remedy.to_owned(),
        });
    }

    /// A value that becomes nothing here.
    pub(super) fn wrong(&mut self, path: FieldPath, message: &str, remedy: &str) {
        self.push(ProblemCode::WrongValue, path, message, remedy);
    }

    /// A field that is needed here.
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

/// The fields of an object that nobody has asked for yet.
#[derive(Debug)]
pub(super) struct Fields<'n> {
    path: FieldPath,
    left: Vec<&'n YamlEntry>,
}

impl<'n> Fields<'n> {
    /// Of this node; what is no object is refused.
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

    /// The path of one of them.
    pub(super) fn path(&self, key: &str) -> FieldPath {
        self.path.clone().key(key)
    }

    /// The object's own path.
    pub(super) fn own_path(&self) -> FieldPath {
        self.path.clone()
    }

    /// A field, where it is given.
    pub(super) fn take(&mut self, key: &str) -> Option<&'n YamlNode> {
        let at = self.left.iter().position(|entry| entry.key == key)?;
        Some(&self.left.remove(at).node)
    }

    /// A field that is text.
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

    /// A field that is an object; an empty one where it is not given.
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

    /// The elements of a list of objects; none where it is not given.
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

    /// Whether a field is given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|entry| entry.key == key)
    }

    /// Refuses a field with a remedy of its own.
    pub(super) fn refuse(&mut self, key: &str, remedy: &str, refusals: &mut Refusals) {
        if self.take(key).is_some() {
            refusals.unsupported(self.path(key), remedy);
        }
    }

    /// Refuses all that nobody asked for.
    pub(super) fn end(self, refusals: &mut Refusals) {
        for entry in self.left {
            refusals.unsupported(
                self.path.clone().key(&entry.key),
                "remove it; docs/reference/kubevirt.md lists the fields that are taken",
            );
        }
    }
}

/// An object of these fields; those without a value are left out.
pub(super) fn object<const N: usize>(fields: [(&str, Option<YamlNode>); N]) -> YamlNode {
    let present = fields.into_iter();
    let present = present.filter_map(|(key, node)| Some(entry(key, node?)));
    YamlNode::nowhere(Value::Map(present.collect()))
}

/// A field, which stands where its value does.
pub(super) fn entry(key: &str, node: YamlNode) -> YamlEntry {
    YamlEntry {
        key: key.to_owned(),
        key_at: node.at,
        node,
    }
}

/// Text that stands nowhere.
pub(super) fn text(text: &str) -> YamlNode {
    YamlNode::nowhere(Value::Text(text.to_owned()))
}

/// Another value at the place of this one.
pub(super) fn instead(node: &YamlNode, value: Value) -> YamlNode {
    YamlNode {
        value,
        ..node.clone()
    }
}

/// An empty list is none.
pub(super) fn list(nodes: Vec<YamlNode>) -> Option<YamlNode> {
    (!nodes.is_empty()).then(|| YamlNode::nowhere(Value::List(nodes)))
}
