//! What the kinds are that only files have: a cluster has no definition of them to ask.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::documents::{QUOTA, SERVER_TYPE, SNAPSHOT};
use super::quota::QuotaSpec;
use super::server_type::ServerTypeSpec;
use super::snapshot::SnapshotSpec;

/// The definitions of the kinds that only files have, each in the shape of a
/// CustomResourceDefinition.
pub fn file_kinds() -> [Value; 3] {
    [
        definition::<ServerTypeSpec>(
            SERVER_TYPE,
            "A size that machines are made in where only its name is given.",
        ),
        definition::<SnapshotSpec>(
            SNAPSHOT,
            "A snapshot of a VSI of the same namespace, taken once.",
        ),
        definition::<QuotaSpec>(QUOTA, "How much the VSIs of a namespace may take together."),
    ]
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
