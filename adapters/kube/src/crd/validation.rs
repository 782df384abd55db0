//! Parts of schemas that cannot be derived from types.

use schemars::{Schema, SchemaGenerator, json_schema};

/// A size in bytes, or a text such as `100Gi`.
pub(super) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}

/// A new field that is a size: bounded by a pattern where it is a text.
pub(super) fn bounded_quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": r"^[0-9]+(\.[0-9]+)?([kMGTPE]|[KMGTPE]i)?$",
    })
}

/// Any object: the value that the previous operator wrote is preserved.
pub(super) fn anything(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}
