//! Limits on the texts and lists of a resource.
//!
//! The definitions of the newer kinds have the same limits ([`bound`]). Those of the previous operator's
//! kinds have none, so that a status and a finalizer can always be written: for them the limits apply when
//! the resource is read.

use serde_json::{Map, Value, json};
use vsiflow_workflows::spec::{
    FieldPath,
    substitute::{TEXT_MAX, text_max},
};

/// Maximum number of entries of a list or a map.
const ENTRIES_MAX: usize = 4_096;

/// A field, and what is wrong with it.
type Exceeded = (FieldPath, String);

/// Checks the texts and lists of a spec.
///
/// # Errors
/// The first field that exceeds a limit.
pub(super) fn check(spec: &Value) -> Result<(), Exceeded> {
    walk(spec, "", &FieldPath::of(["spec"]))
}

fn walk(value: &Value, key: &str, path: &FieldPath) -> Result<(), Exceeded> {
    let exceeded =
        |most: usize, what: &str| Err((path.clone(), format!("it has more than {most} {what}")));
    match value {
        Value::String(text) if text.len() > text_max(key) => exceeded(text_max(key), "bytes"),
        Value::Array(items) if items.len() > ENTRIES_MAX => exceeded(ENTRIES_MAX, "entries"),
        Value::Object(fields) if fields.len() > ENTRIES_MAX => exceeded(ENTRIES_MAX, "entries"),
        Value::Array(items) => {
            let mut items = items.iter().enumerate();
            items.try_for_each(|(place, item)| walk(item, key, &path.clone().index(place)))
        }
        Value::Object(fields) => fields.iter().try_for_each(|(name, field)| {
            if name.len() > TEXT_MAX {
                return exceeded(TEXT_MAX, "bytes in the name of a field");
            }
            walk(field, name, &path.clone().key(name))
        }),
        _ => Ok(()),
    }
}

/// Writes the limits into a schema, where it has no others.
pub(crate) fn bound(schema: &mut Value) {
    bound_field(schema, "");
}

fn bound_field(schema: &mut Value, key: &str) {
    let Some(fields) = schema.as_object_mut() else {
        return;
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("string") if !fields.contains_key("enum") => limit(fields, "maxLength", text_max(key)),
        Some("array") => limit(fields, "maxItems", ENTRIES_MAX),
        _ => {}
    }
    for (name, inner) in fields.iter_mut() {
        match (name.as_str(), inner) {
            ("properties", Value::Object(properties)) => {
                let properties = properties.iter_mut();
                properties.for_each(|(property, field)| bound_field(field, property));
            }
            ("items" | "additionalProperties", inner) => bound_field(inner, key),
            _ => {}
        }
    }
}

fn limit(fields: &mut Map<String, Value>, name: &str, most: usize) {
    fields.entry(name).or_insert_with(|| json!(most));
}

#[cfg(test)]
mod tests {
    use vsiflow_workflows::spec::substitute::CONTENT_MAX;

    use super::*;

    #[test]
    fn a_text_or_list_beyond_its_limit_is_named() {
        let long = "x".repeat(TEXT_MAX + 1);
        let (path, message) = check(&json!({"guest": {"sshKeys": ["a", long]}})).unwrap_err();
        assert_eq!(path.to_string(), "spec.guest.sshKeys[1]");
        assert!(message.contains("16384 bytes"), "{message}");
        assert!(check(&json!({"networkConfig": long, "contract": long})).is_ok());
        let content = "x".repeat(CONTENT_MAX + 1);
        assert!(check(&json!({"contract": content})).is_err());
        assert!(check(&json!({"disks": vec![0; ENTRIES_MAX + 1]})).is_err());
    }

    #[test]
    fn a_schema_gets_the_limits_that_it_lacks() {
        let mut schema = json!({"type": "object", "properties": {
            "userData": {"type": "string"},
            "name": {"type": "string", "maxLength": 5},
            "kind": {"type": "string", "enum": ["a"]},
            "list": {"type": "array", "items": {"type": "string"}},
            "map": {"type": "object", "additionalProperties": {"type": "string"}},
        }});
        bound(&mut schema);
        let properties = &schema["properties"];
        assert_eq!(properties["userData"]["maxLength"], CONTENT_MAX);
        assert_eq!(properties["name"]["maxLength"], 5);
        assert!(properties["kind"].get("maxLength").is_none());
        assert_eq!(properties["list"]["items"]["maxLength"], TEXT_MAX);
        assert_eq!(
            properties["map"]["additionalProperties"]["maxLength"],
            TEXT_MAX
        );
    }
}
