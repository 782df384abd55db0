//! Deserializes any serde type from a [`YamlNode`]. It is strict and guesses nothing: a number is not
//! accepted as text, and a field that the type does not have is a fault.

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use vsiflow_workflows::spec::PathSegment;

use crate::fault::{DocumentFault, FieldProblem};
use crate::node::{Value, YamlEntry, YamlNode};

type DeResult<T> = std::result::Result<T, DocumentFault>;

impl YamlNode {
    fn integer<'de, V: Visitor<'de>>(&self, visitor: V) -> DeResult<V::Value> {
        match self.value {
            Value::Int(number) => integer(number, visitor),
            Value::Filler(_) => visitor.visit_u64(1),
            _ => Err(DocumentFault::wrong_type(self.value.words(), &visitor)),
        }
    }

    fn texts<'de, V: Visitor<'de>>(&self, visitor: V) -> DeResult<V::Value> {
        match &self.value {
            Value::Text(text) => visitor.visit_str(text),
            Value::Filler(text) => visitor.visit_str(text),
            other => Err(DocumentFault::wrong_type(other.words(), &visitor)),
        }
    }

    fn list<'de, V: Visitor<'de>>(&self, visitor: V) -> DeResult<V::Value> {
        match &self.value {
            Value::List(nodes) => visitor.visit_seq(SequenceElements { nodes, index: 0 }),
            Value::Filler(_) => visitor.visit_seq(SequenceElements {
                nodes: &[],
                index: 0,
            }),
            other => Err(DocumentFault::wrong_type(other.words(), &visitor)),
        }
    }

    fn fields<'de, V: Visitor<'de>>(
        &self,
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> DeResult<V::Value> {
        let entries = match &self.value {
            Value::Map(entries) => entries.as_slice(),
            Value::Filler(_) => &[],
            other => return Err(DocumentFault::wrong_type(other.words(), &visitor)),
        };
        visitor.visit_map(FieldNames {
            entries,
            index: 0,
            current: None,
            known,
        })
    }
}

fn integer<'de, V: Visitor<'de>>(number: i128, visitor: V) -> DeResult<V::Value> {
    match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => visitor.visit_u64(number),
        (_, Ok(number)) => visitor.visit_i64(number),
        _ => Err(DocumentFault::new(FieldProblem::Value(
            "the number is too large".to_owned(),
        ))),
    }
}

macro_rules! forward {
    ($($name:ident)* => $to:ident) => {
        $(fn $name<V: Visitor<'de>>(self, visitor: V) -> DeResult<V::Value> {
            self.$to(visitor)
        })*
    };
}

impl<'de> Deserializer<'de> for &YamlNode {
    type Error = DocumentFault;

    forward! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 => integer
    }
    forward! {
        deserialize_char deserialize_str deserialize_string deserialize_bytes
        deserialize_byte_buf deserialize_identifier => texts
    }
    forward! { deserialize_seq => list }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> DeResult<V::Value> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Int(_) => self.integer(visitor),
            Value::Float => Err(DocumentFault::wrong_type(self.value.words(), &visitor)),
            Value::Text(_) | Value::Filler(_) => self.texts(visitor),
            Value::List(_) => self.list(visitor),
            Value::Map(_) => self.fields(None, visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> DeResult<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> DeResult<V::Value> {
        match self.value {
            Value::Bool(value) => visitor.visit_bool(value),
            Value::Filler(_) => visitor.visit_bool(false),
            _ => Err(DocumentFault::wrong_type(self.value.words(), &visitor)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> DeResult<V::Value> {
        match self.value {
            Value::Null | Value::Filler(_) => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> DeResult<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> DeResult<V::Value> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> DeResult<V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> DeResult<V::Value> {
        self.list(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> DeResult<V::Value> {
        self.list(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> DeResult<V::Value> {
        self.fields(None, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> DeResult<V::Value> {
        self.fields(Some(known), visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> DeResult<V::Value> {
        let word = match &self.value {
            Value::Text(text) => text.as_str(),
            Value::Filler(_) => words.first().copied().unwrap_or_default(),
            other => return Err(DocumentFault::wrong_type(other.words(), &visitor)),
        };
        let word: StrDeserializer<'_, DocumentFault> = word.into_deserializer();
        visitor.visit_enum(word)
    }
}

struct SequenceElements<'a> {
    nodes: &'a [YamlNode],
    index: usize,
}

impl<'de> SeqAccess<'de> for SequenceElements<'_> {
    type Error = DocumentFault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> DeResult<Option<T::Value>> {
        let Some(node) = self.nodes.get(self.index) else {
            return Ok(None);
        };
        let index = self.index;
        self.index += 1;
        seed.deserialize(node)
            .map(Some)
            .map_err(|fault| fault.below(PathSegment::Index(index)))
    }
}

/// The fields of an object. If `known` is set, a field outside it is a fault, and a field without a value
/// counts as absent, as in Kubernetes.
struct FieldNames<'a> {
    entries: &'a [YamlEntry],
    index: usize,
    current: Option<&'a YamlEntry>,
    known: Option<&'static [&'static str]>,
}

impl<'de> MapAccess<'de> for FieldNames<'_> {
    type Error = DocumentFault;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> DeResult<Option<K::Value>> {
        let Some(entry) = self.entries.get(self.index) else {
            return Ok(None);
        };
        self.index += 1;
        let below = |fault: DocumentFault| fault.below(PathSegment::Key(entry.key.clone()));
        if let Some(known) = self.known {
            if !known.contains(&entry.key.as_str()) {
                return Err(below(DocumentFault::new(FieldProblem::UnknownField {
                    known,
                })));
            }
            if matches!(entry.node.value, Value::Null) {
                return self.next_key_seed(seed);
            }
        }
        self.current = Some(entry);
        let key: StrDeserializer<'_, DocumentFault> = entry.key.as_str().into_deserializer();
        seed.deserialize(key).map(Some).map_err(below)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> DeResult<V::Value> {
        let Some(entry) = self.current.take() else {
            return Err(DocumentFault::new(FieldProblem::Value(
                "a value without a field".to_owned(),
            )));
        };
        let below = |fault: DocumentFault| fault.below(PathSegment::Key(entry.key.clone()));
        seed.deserialize(&entry.node).map_err(below)
    }
}
