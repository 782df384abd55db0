//! Hints for error messages: what a field expects, with an example, and the closest known word to a misspelt
//! one. What fields of specs expect comes from their schemas.

use serde_json::Value;
use vsiflow_workflows::spec::{
    FieldPath, PathSegment,
    schema::{EXAMPLE, EXPECTED, SIZE},
};

use crate::schemas;

/// What a field expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hint {
    /// The expected type in words, for example `a whole number`.
    pub(crate) expected: String,
    /// An example line.
    pub(crate) example: String,
}

/// What the field at a path of a document of that kind expects. The path starts at the document; list positions in it
/// are ignored.
pub(crate) fn hint(kind: &str, path: &FieldPath) -> Option<Hint> {
    let keys: Vec<&str> = path.0.iter().filter_map(key).collect();
    match keys.as_slice() {
        ["spec", above @ .., name] => of_field(schemas::field(kind, above, name)?, name),
        keys => {
            let (expected, example) = envelope(keys)?;
            Some(Hint {
                expected: expected.to_owned(),
                example: example.to_owned(),
            })
        }
    }
}

/// What fields outside specs expect.
fn envelope(keys: &[&str]) -> Option<(&'static str, &'static str)> {
    Some(match keys {
        ["apiVersion"] => ("text", "apiVersion: hpse.ibm.com/v1"),
        ["kind"] => ("text", "kind: HyperProtectContainerRuntimeOnPrem"),
        ["metadata"] => ("an object with a name", "metadata: {name: my-vsi}"),
        ["metadata", "name"] => ("text", "name: my-vsi"),
        ["metadata", "namespace"] => ("text", "namespace: default"),
        ["metadata", "uid"] => ("a UUID", "uid: 6d997109-6b44-40eb-8d88-8bf7fc90bfb5"),
        ["metadata", "labels"] => ("an object of texts", "labels: {app: hpcr}"),
        ["metadata", "labels" | "annotations", _] => ("text", "app: \"1\""),
        ["data"] | ["stringData"] => ("an object of texts", "data: {HOSTNAME: lpar1.example.com}"),
        ["data" | "stringData", "PORT"] => ("text", "PORT: \"22\""),
        ["data" | "stringData", "INSECURE_SKIP_HOST_KEY"] => {
            ("text", "INSECURE_SKIP_HOST_KEY: \"true\"")
        }
        ["data" | "stringData", _] => (
            "text",
            "HOSTNAME: lpar1.example.com, or in base64 below a Secret's data",
        ),
        ["items"] => ("a list of documents", "items: []"),
        ["spec"] => ("an object", "spec: {imageURL: …, contract: …}"),
        _ => return None,
    })
}

fn key(segment: &PathSegment) -> Option<&str> {
    match segment {
        PathSegment::Key(key) => Some(key.as_str()),
        PathSegment::Index(_) => None,
    }
}

fn of_field(schema: &Value, name: &str) -> Option<Hint> {
    let text = |key: &str| schema.get(key).and_then(Value::as_str);
    let expected = match text(EXPECTED) {
        Some(expected) => expected.to_owned(),
        None => expected(schema)?,
    };
    let example = match schema.get(EXAMPLE).or_else(|| plain_default(schema)) {
        Some(Value::String(example)) => example.clone(),
        Some(example) => example.to_string(),
        None => example(schema)?,
    };
    Some(Hint {
        expected,
        example: format!("{name}: {example}"),
    })
}

fn plain_default(schema: &Value) -> Option<&Value> {
    let default = schema.get("default")?;
    let is_plain = !default.is_null() && !default.is_object() && !default.is_array();
    is_plain.then_some(default)
}

/// A type in words.
fn expected(schema: &Value) -> Option<String> {
    let words = words(schema);
    if let Some((last, others)) = words.split_last() {
        return Some(match others {
            [] => (*last).to_owned(),
            others => format!("{} or {last}", others.join(", ")),
        });
    }
    let format = schema.get("format").and_then(Value::as_str);
    let type_of = |inner: Option<&Value>| inner?.get("type")?.as_str().map(str::to_owned);
    let is_text = |inner: &str| type_of(schema.get(inner)).as_deref() == Some("string");
    let expected = match type_of(Some(schema))?.as_str() {
        "string" if format == Some(SIZE) => "a size",
        "string" => "text",
        "integer" => "a whole number",
        "boolean" => "true or false",
        "array" if is_text("items") => "a list of texts",
        "array" => "a list",
        "object" if is_text("additionalProperties") => "an object of texts",
        "object" => "an object",
        _ => return None,
    };
    Some(expected.to_owned())
}

/// An example of a field whose schema has none.
fn example(schema: &Value) -> Option<String> {
    if let Some(word) = words(schema).first() {
        return Some((*word).to_owned());
    }
    match schema.get("type").and_then(Value::as_str)? {
        "boolean" => Some("true".to_owned()),
        // A value of a map of texts; numbers need quotes there.
        "string" => Some("\"1\"".to_owned()),
        _ => None,
    }
}

/// The words of an enum, of which some have descriptions and one may be `null`.
fn words(schema: &Value) -> Vec<&str> {
    let list = |key: &str| schema.get(key).and_then(Value::as_array);
    let choices = ["anyOf", "oneOf"].into_iter().filter_map(list).flatten();
    let words = list("enum").into_iter().flatten().filter_map(Value::as_str);
    words.chain(choices.flat_map(self::words)).collect()
}

/// The closest of `words` to a possibly misspelt word.
pub(crate) fn closest<'a>(word: &str, words: &[&'a str]) -> Option<&'a str> {
    // Longer words would make the comparison slow and match nothing.
    if word.len() > 100 {
        return None;
    }
    let distance =
        |other: &str| strsim::damerau_levenshtein(&word.to_lowercase(), &other.to_lowercase());
    let allowed = |other: &str| (other.chars().count() / 3).max(1);
    let near = words.iter().map(|other| (distance(other), *other));
    near.filter(|(near_by, other)| *near_by <= allowed(other))
        .min()
        .map(|(_, other)| other)
}

#[cfg(test)]
mod tests {
    use vsiflow_workflows::spec::documents::{DATA_DISK, GROUP, SNAPSHOT, VIRTUAL_SERVER, VSI};

    use super::*;

    /// Calls for each field below a schema.
    fn each(schema: &Value, call: &mut dyn FnMut(&str, &Value)) {
        let object = schema.get("items").unwrap_or(schema);
        let fields = object.get("properties").and_then(Value::as_object);
        for (name, field) in fields.into_iter().flatten() {
            call(name, field);
            each(field, call);
            if let Some(values) = field.get("additionalProperties") {
                each(values, call);
            }
        }
    }

    #[test]
    fn every_field_of_every_kind_has_an_example() {
        for spec in schemas::specs() {
            each(spec, &mut |name, field| {
                let is_text = field.get("type").is_some_and(|of| of == "string");
                let has_own = field
                    .get(EXAMPLE)
                    .or_else(|| plain_default(field))
                    .is_some();
                let is_said = has_own || !is_text || !words(field).is_empty();
                let hint = of_field(field, name);
                assert!(is_said && hint.is_some(), "{name} needs x-example: {field}");
            });
        }
    }

    #[test]
    fn hints_are_of_the_kind_of_the_document() {
        let of = |kind: &str, path: &[&'static str]| {
            let path = FieldPath::of(path.iter().copied());
            hint(kind, &path).map(|hint| (hint.expected, hint.example))
        };
        let hint = |expected: &str, example: &str| Some((expected.to_owned(), example.to_owned()));
        for (kind, path, expected) in [
            (
                VSI,
                &["spec", "machine", "cpus"][..],
                hint("a whole number", "cpus: 2"),
            ),
            (
                VSI,
                &["spec", "bootDisk", "mode"],
                hint("copy or overlay", "mode: copy"),
            ),
            (
                VIRTUAL_SERVER,
                &["spec", "bootDisk", "mode"],
                hint("copy, overlay or ephemeral", "mode: copy"),
            ),
            (
                VIRTUAL_SERVER,
                &["spec", "machine", "firmware"],
                hint("bios or uefi", "firmware: uefi"),
            ),
            (
                SNAPSHOT,
                &["spec", "memory"],
                hint("true or false", "memory: true"),
            ),
            (DATA_DISK, &["spec", "size"], hint("a size", "size: 100Gi")),
            (
                GROUP,
                &[
                    "spec", "waves", "pools", "template", "spec", "guest", "sshKeys",
                ],
                hint("a list of texts", "sshKeys: [\"ssh-ed25519 …\"]"),
            ),
            (
                VSI,
                &["spec", "diskSelector", "matchLabels", "app"],
                hint("text", "app: \"1\""),
            ),
            (VSI, &["metadata", "name"], hint("text", "name: my-vsi")),
            (VSI, &["spec", "guest"], None),
        ] {
            assert_eq!(of(kind, path), expected, "{kind} {path:?}");
        }
    }

    #[test]
    fn slips_are_understood() {
        let fields = [
            "contract",
            "imageURL",
            "imageChecksum",
            "storagePool",
            "targetSelector",
        ];
        assert_eq!(closest("imageUrl", &fields), Some("imageURL"));
        assert_eq!(closest("contrat", &fields), Some("contract"));
        assert_eq!(closest("target_selector", &fields), Some("targetSelector"));
        assert_eq!(closest("replicas", &fields), None);
        assert_eq!(closest(&"a".repeat(1000), &fields), None);
    }
}
