//! The schemas of the specs of all kinds, and definitions of the kinds that only files can have; a cluster has no CRDs
//! for them.

use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Value, json};

use super::{
    DataDiskRefSpec, DataDiskSpec, GroupSpec, NetworkRefSpec, PoolSpec, ServerNetworkSpec,
    VirtualServerSpec, VsiSpec,
    documents::{
        DATA_DISK, DATA_DISK_REF, GROUP, NETWORK, NETWORK_REF, POOL, QUOTA, SERVER_TYPE, SNAPSHOT,
        VIRTUAL_SERVER, VSI,
    },
    quota::QuotaSpec,
    server_type::ServerTypeSpec,
    snapshot::SnapshotSpec,
};

/// The schemas of the specs of all kinds, by the names of the kinds.
pub fn specs() -> [(&'static str, Value); 11] {
    [
        (VSI, schema::<VsiSpec>()),
        (VIRTUAL_SERVER, schema::<VirtualServerSpec>()),
        (POOL, schema::<PoolSpec>()),
        (GROUP, schema::<GroupSpec>()),
        (SNAPSHOT, schema::<SnapshotSpec>()),
        (SERVER_TYPE, schema::<ServerTypeSpec>()),
        (QUOTA, schema::<QuotaSpec>()),
        (NETWORK, schema::<ServerNetworkSpec>()),
        (DATA_DISK, schema::<DataDiskSpec>()),
        (DATA_DISK_REF, schema::<DataDiskRefSpec>()),
        (NETWORK_REF, schema::<NetworkRefSpec>()),
    ]
}

/// The definitions of the kinds that only files can have, each in the shape of a
/// `CustomResourceDefinition`.
pub fn file_kinds() -> [Value; 1] {
    [definition::<ServerTypeSpec>(
        SERVER_TYPE,
        "A size that machines are made in where only its name is given.",
    )]
}

fn definition<S: JsonSchema>(kind: &str, description: &str) -> Value {
    let spec = schema::<S>();
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

fn schema<S: JsonSchema>() -> Value {
    let settings = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true);
    settings
        .into_generator()
        .into_root_schema_for::<S>()
        .to_value()
}
