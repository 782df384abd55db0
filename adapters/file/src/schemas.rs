//! The schemas of specs, by the kinds of their documents.

use std::sync::LazyLock;

use serde_json::Value;
use vsiflow_workflows::spec::definitions;

static SPECS: LazyLock<Vec<(&str, Value)>> = LazyLock::new(|| definitions::specs().into());

/// The specs of all kinds.
pub(crate) fn specs() -> impl Iterator<Item = &'static Value> {
    SPECS.iter().map(|(_, spec)| spec)
}

/// The field of this name in the object at a path of a spec. List positions are not part of the path.
pub(crate) fn field(kind: &str, above: &[&str], name: &str) -> Option<&'static Value> {
    let (_, spec) = SPECS.iter().find(|(other, _)| *other == kind)?;
    let mut path = above.iter().chain([&name]);
    path.try_fold(spec, |schema, key| below(schema, key))
}

/// A field of an object, of a list's items, or of a map.
fn below<'s>(schema: &'s Value, key: &str) -> Option<&'s Value> {
    let object = schema.get("items").unwrap_or(schema);
    let fields = object.get("properties");
    let field = fields.and_then(|fields| fields.get(key));
    field.or_else(|| {
        object
            .get("additionalProperties")
            .filter(|values| values.is_object())
    })
}
