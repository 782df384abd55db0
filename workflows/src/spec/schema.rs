//! What the schemas of specs say beside what their types say.
//!
//! The types of a document are the only list of its fields: the custom resource definitions, `explain`, the reference
//! of fields and what error messages may show come from their schemas ([`definitions`]).
//!
//! [`definitions`]: super::definitions

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{
    de::{DeserializeOwned, Deserializer, Error as _, Visitor, value::Error},
    forward_to_deserialize_any,
};

/// Key of a schema whose values may be secret: no message shows them.
pub const SECRET: &str = "x-secret";
/// Key of an example of a value, as it is written in YAML behind the name of the field.
pub const EXAMPLE: &str = "x-example";
/// Key of the expected value in words, where its type does not say it.
pub const EXPECTED: &str = "x-expected";
/// Key of a field that never changes; its value says why.
pub const IMMUTABLE: &str = "x-immutable";
/// Key of a size that never becomes smaller; its value says so.
pub const GROWS: &str = "x-grows";
/// Key of a spec that the previous operator had, too. Its value names the fields that the operator accepted and
/// ignored.
pub const PREVIOUS: &str = "x-previous-operator";
/// The format of sizes. They are written as texts; documents may also say them as numbers.
pub const SIZE: &str = "quantity";

/// The schema of a size.
pub(super) fn size(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": SIZE})
}

/// The schema of an enum without one, of a crate that knows no schemas: the names of its variants.
pub(super) struct Words<T>(PhantomData<T>);

impl<T: DeserializeOwned> JsonSchema for Words<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "enum": words::<T>()})
    }
}

/// The names of an enum's variants, as serde reads them.
fn words<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // The deserializer has no value, so that nothing can be read.
    drop(T::deserialize(VariantNames(&mut names)));
    names
}

struct VariantNames<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for VariantNames<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("there is no value"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is no value"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use vsiflow_steps::ports::{Graphics, NetworkMode};

    use super::*;

    #[test]
    fn the_words_of_an_enum_are_those_that_serde_reads() {
        assert_eq!(words::<Graphics>(), ["none", "vnc"]);
        assert_eq!(
            words::<NetworkMode>(),
            ["nat", "routed", "isolated", "bridge"]
        );
        assert!(words::<String>().is_empty());
    }
}
