//! Definitions of the kinds that only files can have; a cluster has no CRDs for them.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::documents::SERVER_TYPE;
use super::server_type::ServerTypeSpec;

/// The definitions of the kinds that only files can have, each in the shape of a
/// `CustomResourceDefinition`.
pub fn file_kinds() -> [Value; 1] {
    [definition::<ServerTypeSpec>(
        SERVER_TYPE,
        "A size that machines are made in where only its name is given.",
    )]
}

fn definition<S: JsonSchema>(kind: &str, description: &str) -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    let spec = settings.into_generator().into_root_schema_for::<S>();
    let singular = kind.to_ascii_lowercase();
    json!({
        "spec": {
            "group": "vsiflow.io",
            "names": {"kind": kind, "plural": format!("{singular}s"), "singular": singular},
            "versions": [{
                "name": "v1",
                "schema": {"openAPIV3Schema": {
                    "type": "object",
                    "description": description,
                    "properties": {"spec": spec},
                }},
            }],
        },
    })
}
