//! What is wrong with one field, before it becomes a message.

use std::fmt;

use serde::de;
use vsiflow_workflows::spec::{FieldPath, PathSegment};

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FieldProblem {
    /// The kind has no such field.
    UnknownField { known: &'static [&'static str] },
    /// The field is required and absent.
    Missing,
    /// The field has another type than it must have.
    Type {
        found: &'static str,
        expected: String,
    },
    /// The value is not one of the allowed words.
    Word {
        found: String,
        allowed: &'static [&'static str],
    },
    /// The value is not allowed; the text says why.
    Value(String),
}

/// A field and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DocumentFault {
    /// The path to the field, innermost segment first, because errors travel outwards.
    backwards: Vec<PathSegment>,
    pub(crate) wrong: FieldProblem,
}

impl DocumentFault {
    pub(crate) fn new(wrong: FieldProblem) -> Self {
        Self {
            backwards: Vec::new(),
            wrong,
        }
    }

    /// The fault of a node that has the wrong type.
    pub(crate) fn wrong_type(found: &'static str, wanted: &dyn de::Expected) -> Self {
        let name = wanted.to_string();
        let expected = number_words(&name).unwrap_or(&name).to_owned();
        Self::new(FieldProblem::Type { found, expected })
    }

    /// The same fault, with one more outer path segment.
    #[must_use]
    pub(crate) fn below(mut self, segment: PathSegment) -> Self {
        self.backwards.push(segment);
        self
    }

    /// The path to the field, outermost segment first.
    pub(crate) fn path(&self) -> FieldPath {
        FieldPath(self.backwards.iter().rev().cloned().collect())
    }
}

impl fmt::Display for DocumentFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}", self.path(), self.wrong)
    }
}

impl std::error::Error for DocumentFault {}

/// Messages of serde are used only if they do not repeat a value, because a value may be a secret.
impl de::Error for DocumentFault {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(FieldProblem::Value(message.to_string()))
    }

    fn invalid_type(found: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::wrong_type(words(found), expected)
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let expected = expected.to_string();
        let expected = number_words(&expected).unwrap_or(&expected);
        Self::new(FieldProblem::Value(format!(
            "this value is not allowed; it must be {expected}"
        )))
    }

    fn unknown_variant(found: &str, allowed: &'static [&'static str]) -> Self {
        Self::new(FieldProblem::Word {
            found: found.to_owned(),
            allowed,
        })
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::new(FieldProblem::UnknownField { known }).below(PathSegment::Key(field.to_owned()))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(FieldProblem::Missing).below(PathSegment::Key(field.to_owned()))
    }
}

/// What serde calls by the name of a type of whole numbers.
fn number_words(type_name: &str) -> Option<&'static str> {
    Some(match type_name {
        "u8" => "a whole number from 0 to 255",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "u128" | "usize" => "a whole number that is not negative",
        "i8" => "a whole number from -128 to 127",
        "i16" => "a whole number from -32768 to 32767",
        "i32" => "a whole number from -2147483648 to 2147483647",
        "i64" | "i128" | "isize" => "a whole number",
        "a nonzero u8" => "a whole number from 1 to 255",
        "a nonzero u16" => "a whole number from 1 to 65535",
        "a nonzero u32" => "a whole number from 1 to 4294967295",
        "a nonzero u64" | "a nonzero usize" => "a whole number from 1 on",
        "f32" | "f64" => "a number",
        _ => return None,
    })
}

fn words(found: de::Unexpected<'_>) -> &'static str {
    use de::Unexpected::{
        Bool, Bytes, Char, Enum, Float, Map, NewtypeStruct, NewtypeVariant, Option, Other, Seq,
        Signed, Str, StructVariant, TupleVariant, Unit, UnitVariant, Unsigned,
    };
    match found {
        Bool(_) => "true or false",
        Unsigned(_) | Signed(_) | Float(_) => "a number",
        Char(_) | Str(_) | Bytes(_) => "text",
        Unit | Option => "empty",
        Seq => "a list",
        Map => "an object",
        NewtypeStruct | Enum | UnitVariant | NewtypeVariant | TupleVariant | StructVariant
        | Other(_) => "something else",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_type_of_rust_is_named_for_a_number() {
        let fault = |expected: &str| {
            let fault: DocumentFault =
                de::Error::invalid_value(de::Unexpected::Unsigned(70_000), &expected);
            fault.to_string()
        };
        assert!(fault("u16").contains("a whole number from 0 to 65535"));
        assert!(fault("a nonzero u16").contains("a whole number from 1 to 65535"));
        for width in ["8", "16", "32", "64"] {
            for kind in ["u", "i", "a nonzero u"] {
                let name = format!("{kind}{width}");
                assert!(!fault(&name).contains(&name), "{name}");
            }
        }
    }
}
