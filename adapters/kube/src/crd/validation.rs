//! Parts of schemas that cannot be derived from types.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Any object: the value that the previous operator wrote is preserved.
pub(super) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
