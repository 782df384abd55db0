//! The differences between two objects, field by field.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::fleet::{ErrorKind, FleetError};

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Difference {
    /// The field, such as `spec.machine.cpus` or `status.conditions[Ready].message`.
    pub path: String,
    /// What it was; null where there was none.
    pub before: Value,
    /// What it became; null where there is none.
    pub after: Value,
}

/// The differences between two objects, in the order of field names. Elements of two lists are matched by
/// their `type` or `name`; others are matched by index.
#[must_use]
pub fn differences(before: &Value, after: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), before, after, &mut found);
    found
}

/// The differences of an object between two moments. If it did not exist at one of them, all of it differs.
///
/// # Errors
/// When the object did not exist at either moment, or could not be read at one of them.
pub fn differences_of(
    before: Result<Value, FleetError>,
    after: Result<Value, FleetError>,
) -> Result<Vec<Difference>, FleetError> {
    let is_missing = |found: &Result<Value, FleetError>| {
        found
            .as_ref()
            .is_err_and(|error| error.kind == ErrorKind::NotFound)
    };
    match (is_missing(&before), is_missing(&after)) {
        (true, false) => Ok(differences(&json!({}), &after?)),
        (false, true) => Ok(differences(&before?, &json!({}))),
        _ => Ok(differences(&before?, &after?)),
    }
}

fn compare(path: String, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    if before == after {
        return;
    }
    let (parts, earlier, later) = (parts_of(before, after), before, after);
    let Some(parts) = parts else {
        found.push(Difference {
            path,
            before: before.clone(),
            after: after.clone(),
        });
        return;
    };
    for part in parts {
        let at = match &part {
            DifferencePart::Field(name) if path.is_empty() => name.clone(),
            DifferencePart::Field(name) => format!("{path}.{name}"),
            DifferencePart::Element(name) => format!("{path}[{name}]"),
        };
        compare(at, part.of(earlier), part.of(later), found);
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum DifferencePart {
    Field(String),
    Element(String),
}

impl DifferencePart {
    fn of<'a>(&self, value: &'a Value) -> &'a Value {
        let part = match (self, value) {
            (Self::Field(name), Value::Object(fields)) => fields.get(name),
            (Self::Element(name), Value::Array(all)) => {
                let named = all.iter().enumerate();
                let mut named = named.filter(|(at, one)| element_name(*at, one) == *name);
                named.next().map(|(_, one)| one)
            }
            _ => None,
        };
        part.unwrap_or(&Value::Null)
    }
}

/// The parts of two values of the same shape; `None` if they are compared as a whole.
fn parts_of(before: &Value, after: &Value) -> Option<BTreeSet<DifferencePart>> {
    let of = |value: &Value| -> Option<BTreeSet<DifferencePart>> {
        match value {
            Value::Object(fields) => {
                Some(fields.keys().cloned().map(DifferencePart::Field).collect())
            }
            Value::Array(all) => {
                let names = all.iter().enumerate();
                let names = names.map(|(at, one)| DifferencePart::Element(element_name(at, one)));
                Some(names.collect())
            }
            _ => None,
        }
    };
    let is_same_shape = before.is_object() == after.is_object();
    let (mut parts, more) = (of(before)?, of(after)?);
    parts.extend(more);
    is_same_shape.then_some(parts)
}

fn element_name(at: usize, element: &Value) -> String {
    let name = element.get("type").or_else(|| element.get("name"));
    match name.and_then(Value::as_str) {
        Some(name) => name.to_owned(),
        None => at.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(before: &Value, after: &Value) -> Vec<String> {
        let all = differences(before, after).into_iter();
        all.map(|one| one.path).collect()
    }

    #[test]
    fn equal_objects_have_no_difference() {
        let value = json!({"a": [1, {"name": "x"}], "b": null});
        assert!(differences(&value, &value).is_empty());
    }

    #[test]
    fn each_field_that_differs_is_named_once_with_both_values() {
        let before = json!({"spec": {"cpus": 2, "memory": "4Gi"}, "same": 1});
        let after = json!({"spec": {"cpus": 4, "memory": "4Gi", "arch": "s390x"}, "same": 1});
        let found = differences(&before, &after);
        let expected = [
            ("spec.arch", Value::Null, json!("s390x")),
            ("spec.cpus", json!(2), json!(4)),
        ];
        let expected = expected.map(|(path, old, new)| Difference {
            path: path.to_owned(),
            before: old,
            after: new,
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn elements_are_compared_by_their_names_and_others_by_their_places() {
        let before = json!({"conditions": [{"type": "Ready", "status": "False"}, {"type": "Booted", "status": "True"}], "networks": ["a"]});
        let after = json!({"conditions": [{"type": "Booted", "status": "True"}, {"type": "Ready", "status": "True"}], "networks": ["a", "b"]});
        let expected = ["conditions[Ready].status", "networks[1]"];
        assert_eq!(paths(&before, &after), expected);
    }

    #[test]
    fn a_value_of_another_shape_is_one_difference() {
        assert_eq!(paths(&json!({"a": {"b": 1}}), &json!({"a": [1]})), ["a"]);
        assert_eq!(paths(&json!({"a": {"b": 1}}), &json!({"a": null})), ["a"]);
    }
}
