//! Turns the schemas of specs into those of custom resources.
//!
//! An API server knows fewer schemas: every type is single, and `null` is a mark of a field. It also treats objects that
//! older definitions accepted like new ones, so that a bound which they break would forbid to write their status and
//! finalizers.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use vsiflow_workflows::spec::{
    LabelSelector,
    schema::{GROWS, IMMUTABLE, PREVIOUS, SIZE},
};

use super::VALIDATIONS;

/// Stands for the spec of a kind in the type of its resource. It has only the schema: specs are read as in files.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SpecOf<T>(PhantomData<T>);

impl<T: JsonSchema> JsonSchema for SpecOf<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = T::json_schema(generator);
        structure(schema.ensure_object(), generator);
        schema
    }
}

type Fields = Map<String, Value>;

/// A size as a text, where it is one.
const SIZE_PATTERN: &str = r"^[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?$";

/// Rewrites a schema and all below it.
fn structure(schema: &mut Fields, generator: &mut SchemaGenerator) {
    relax(schema, generator);
    if schema.get("additionalProperties") == Some(&Value::Bool(false)) {
        schema.remove("additionalProperties");
    }
    whole_number(schema);
    if schema.get("format").is_some_and(|format| format == SIZE) {
        size(schema);
        schema.insert("pattern".to_owned(), json!(SIZE_PATTERN));
    }
    rules(schema);
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &str| {
        let mut names = required.as_array().into_iter().flatten();
        names.any(|other| other == name)
    };
    for (key, inner) in schema.iter_mut() {
        match (key.as_str(), inner) {
            ("properties", Value::Object(fields)) => {
                for (name, field) in fields {
                    let Value::Object(field) = field else {
                        continue;
                    };
                    absence(name, field, is_required(name));
                    structure(field, generator);
                }
            }
            ("items" | "additionalProperties", Value::Object(inner)) => structure(inner, generator),
            ("anyOf", Value::Array(choices)) => {
                let choices = choices.iter_mut().filter_map(Value::as_object_mut);
                choices.for_each(|choice| structure(choice, generator));
            }
            _ => {}
        }
    }
}

/// The one place for what older definitions accepted: the previous operator's required nothing, bounded nothing and had
/// fields that were ignored; and selectors of all kinds were never checked.
fn relax(schema: &mut Fields, generator: &mut SchemaGenerator) {
    if let Some(ignored) = schema.remove(PREVIOUS) {
        schema.remove("required");
        relax_previous(schema, &ignored, generator);
    }
    let conditions = properties(schema).and_then(|fields| fields.get_mut("matchExpressions"));
    if let Some(Value::Object(condition)) = conditions.and_then(|list| list.get_mut("items")) {
        relax_condition(condition);
    }
}

/// Adds the selectors that the previous operator ignored, and removes the bounds of its one size.
fn relax_previous(schema: &mut Fields, ignored: &Value, generator: &mut SchemaGenerator) {
    let Some(fields) = properties(schema) else {
        return;
    };
    if let Some(Value::Object(field)) = fields.get_mut("size") {
        size(field);
    }
    let ignored = ignored.as_array().into_iter().flatten();
    for name in ignored.filter_map(Value::as_str) {
        let mut field = LabelSelector::json_schema(generator);
        let description = json!("Ignored, as it always was.");
        field.insert("description".to_owned(), description);
        fields.insert(name.to_owned(), field.to_value());
    }
}

/// Accepts any condition of a selector, and the misspelt field of the previous operator's definition.
fn relax_condition(condition: &mut Fields) {
    condition.remove("required");
    let Some(fields) = properties(condition) else {
        return;
    };
    if let Some(operator) = fields.get_mut("operator") {
        let description = operator.get("description").cloned();
        *operator = json!({"type": "string", "description": description});
    }
    if let Some(Value::Object(mut misspelt)) = fields.get("values").cloned() {
        let description = json!("Ignored, as it always was: write values.");
        misspelt.insert("description".to_owned(), description);
        fields.insert("value".to_owned(), Value::Object(misspelt));
    }
}

fn properties(schema: &mut Fields) -> Option<&mut Fields> {
    schema.get_mut("properties")?.as_object_mut()
}

/// Fields whose defaults the API server writes into objects, as it always did. Other fields stay absent.
const WRITTEN_DEFAULTS: [&str; 11] = [
    "annotations",
    "args",
    "diskTemplates",
    "labels",
    "members",
    "outputs",
    "pools",
    "probes",
    "release",
    "size",
    "storagePool",
];

/// Says what an optional field is where it is absent: it has a default that is written, is an empty list or map, or may
/// be `null`.
fn absence(name: &str, field: &mut Fields, is_required: bool) {
    let own = field.remove("default").filter(|own| !own.is_null());
    if is_required {
        return;
    }
    let is_map = field
        .get("additionalProperties")
        .is_some_and(Value::is_object);
    let default = match field.get("type").and_then(Value::as_str) {
        Some("array") => Some(json!([])),
        Some("object") if is_map => Some(json!({})),
        _ if matches!(name, "size" | "storagePool") => own,
        _ => None,
    };
    match default {
        None => _ = field.insert("nullable".to_owned(), json!(true)),
        Some(default) if WRITTEN_DEFAULTS.contains(&name) => {
            field.insert("default".to_owned(), default);
        }
        Some(_) => {}
    }
}

/// Kubernetes has only signed numbers.
fn whole_number(schema: &mut Fields) {
    let format = match schema.get("format").and_then(Value::as_str) {
        Some("uint8" | "uint16") => "int32",
        Some("uint32") => {
            let most = schema.get("maximum").and_then(Value::as_i64);
            let fits = most.is_some_and(|most| i32::try_from(most).is_ok());
            if fits { "int32" } else { "int64" }
        }
        Some("uint64") => "int64",
        _ => return,
    };
    schema.insert("format".to_owned(), json!(format));
}

/// A size is a number or a text.
fn size(schema: &mut Fields) {
    schema.remove("format");
    schema.remove("type");
    schema.insert("x-kubernetes-int-or-string".to_owned(), json!(true));
}

/// Rules between the values of a field before and after a change.
fn rules(schema: &mut Fields) {
    let grows = "type(self) != int || type(oldSelf) != int || self >= oldSelf";
    for (key, rule) in [(IMMUTABLE, "self == oldSelf"), (GROWS, grows)] {
        if let Some(message) = schema.remove(key) {
            let rule = json!([{"rule": rule, "message": message}]);
            schema.insert(VALIDATIONS.to_owned(), rule);
        }
    }
}
