//! YAML documents as trees whose nodes know their positions.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};
use vsiflow_workflows::spec::{FieldPath, PathSegment};

/// A position in a text: what a caret points at, and which bytes to hide if they are secret.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct YamlMark {
    /// The line in the document, from 1; 0 if it is unknown.
    pub(crate) line: usize,
    /// The column in characters, from 1.
    pub(crate) column: usize,
    /// The length in characters.
    pub(crate) length: usize,
    /// The first byte and one past the last, if they are known.
    pub(crate) bytes: Option<(usize, usize)>,
}

impl From<Location> for YamlMark {
    fn from(location: Location) -> Self {
        let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
        let span = location.span();
        let bytes = span
            .byte_offset()
            .zip(span.byte_len())
            .map(|(start, length)| {
                let start = number(start);
                (start, start.saturating_add(number(length)))
            });
        Self {
            line: number(location.line()),
            column: number(location.column()),
            length: number(span.len()),
            bytes,
        }
    }
}

/// A value and its position.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct YamlNode {
    /// The value.
    pub(crate) value: Value,
    /// The position where it is used.
    pub(crate) at: YamlMark,
    /// The position where it is written; it differs from `at` only for aliases.
    pub(crate) defined: YamlMark,
}

/// The value of a node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// No value.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i128),
    /// Another number. No field accepts one, so its value is not stored.
    Float,
    /// Text.
    Text(String),
    /// A list.
    List(Vec<YamlNode>),
    /// An object.
    Map(Vec<YamlEntry>),
    /// Replaces a value that was already reported, so that the rest can be checked.
    Filler(&'static str),
}

/// One field of an object.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct YamlEntry {
    pub(crate) key: String,
    pub(crate) key_at: YamlMark,
    pub(crate) node: YamlNode,
}

impl Value {
    /// The type of the value in words.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Self::Null | Self::Filler(_) => "empty",
            Self::Bool(_) => "true or false",
            Self::Int(_) | Self::Float => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "an object",
        }
    }
}

impl YamlNode {
    /// A node without a position.
    pub(crate) fn nowhere(value: Value) -> Self {
        Self {
            value,
            at: YamlMark::default(),
            defined: YamlMark::default(),
        }
    }

    /// The fields of an object; none for other values.
    pub(crate) fn entries(&self) -> &[YamlEntry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// A field of an object.
    pub(crate) fn get(&self, key: &str) -> Option<&YamlNode> {
        self.entries()
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| &entry.node)
    }

    /// The value, if it is text.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The node at the end of a path.
    pub(crate) fn find(&self, path: &[PathSegment]) -> Option<&YamlNode> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        let next = match (&self.value, first) {
            (Value::Map(_), PathSegment::Key(key)) => self.get(key),
            (Value::List(nodes), PathSegment::Index(index)) => nodes.get(*index),
            _ => None,
        };
        next?.find(rest)
    }

    /// The node at the end of a path, mutable.
    pub(crate) fn find_mut(&mut self, path: &[PathSegment]) -> Option<&mut YamlNode> {
        let Some((first, rest)) = path.split_first() else {
            return Some(self);
        };
        let next = match (&mut self.value, first) {
            (Value::Map(entries), PathSegment::Key(key)) => entries
                .iter_mut()
                .find(|entry| entry.key == *key)
                .map(|entry| &mut entry.node),
            (Value::List(nodes), PathSegment::Index(index)) => nodes.get_mut(*index),
            _ => None,
        };
        next?.find_mut(rest)
    }

    /// The position to point at for a path: the field's name if `at_key`, else its value. For a missing field
    /// it is the name of the object that lacks it. `None` if no part of the path exists.
    pub(crate) fn mark(&self, path: &FieldPath, at_key: bool) -> Option<YamlMark> {
        let mut node = self;
        let mut best = None;
        let mut segments = path.0.iter().peekable();
        while let Some(segment) = segments.next() {
            let last = segments.peek().is_none();
            match segment {
                PathSegment::Key(key) => {
                    let found = node.entries().iter().find(|entry| entry.key == *key);
                    let Some(entry) = found else { return best };
                    let points_at_value = last && !at_key && entry.node.is_on_line(entry.key_at);
                    best = Some(if points_at_value {
                        entry.node.at
                    } else {
                        entry.key_at
                    });
                    node = &entry.node;
                }
                PathSegment::Index(index) => {
                    let Value::List(nodes) = &node.value else {
                        return best;
                    };
                    let Some(element) = nodes.get(*index) else {
                        return best;
                    };
                    best = Some(element.at);
                    node = element;
                }
            }
        }
        best
    }

    /// Whether a caret under the value would be on the key's line and have a value to point at.
    fn is_on_line(&self, key: YamlMark) -> bool {
        self.at.line == key.line && !matches!(self.value, Value::Null | Value::Filler(_))
    }

    /// The same tree without texts: it is enough to find positions, and holds no secret.
    pub(crate) fn outline(&self) -> Self {
        let value = match &self.value {
            Value::Text(_) => Value::Text(String::new()),
            Value::List(nodes) => Value::List(nodes.iter().map(Self::outline).collect()),
            Value::Map(entries) => Value::Map(entries.iter().map(YamlEntry::outline).collect()),
            other => other.clone(),
        };
        Self { value, ..*self }
    }

    /// How many nodes the tree has.
    pub(crate) fn count(&self) -> usize {
        let below: usize = match &self.value {
            Value::List(nodes) => nodes.iter().map(Self::count).sum(),
            Value::Map(entries) => entries.iter().map(|entry| entry.node.count()).sum(),
            _ => 0,
        };
        below.saturating_add(1)
    }
}

impl YamlEntry {
    fn outline(&self) -> Self {
        Self {
            key: self.key.clone(),
            key_at: self.key_at,
            node: self.node.outline(),
        }
    }
}

impl<'de> Deserialize<'de> for YamlNode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        let (at, defined) = (spanned.referenced.into(), spanned.defined.into());
        Ok(Self {
            value: spanned.value,
            at,
            defined,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Int(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Value, E> {
        Ok(i128::try_from(value).map_or(Value::Float, Value::Int))
    }

    /// A whole number in exponent form is a whole number, as kubectl sends it.
    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        // The shortest decimal form has no exponent here.
        let whole = format!("{number}").parse();
        Ok(whole.map_or(Value::Float, Value::Int))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Spanned<String>, YamlNode>()? {
            entries.push(YamlEntry {
                key: key.value,
                key_at: key.referenced.into(),
                node,
            });
        }
        Ok(Value::Map(entries))
    }
}
