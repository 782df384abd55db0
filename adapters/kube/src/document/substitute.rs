//! Substitutes `$(group.release.…)` in a group's templates, whose values are in the resource itself, and
//! refuses references in fields that permit none.

use serde_json::Value;
use vsiflow_workflows::spec::{
    FieldPath, PathSegment, last_key,
    substitute::{DocumentRelease, DocumentText, FILLED, in_template},
};

use crate::kind::ResourceKind;

/// A field, what is wrong with it, and the remedy.
pub(super) type SubstituteRefusal = (FieldPath, String, String);

/// Substitutes the release in the templates of a group's spec.
///
/// # Errors
/// The first reference that cannot be substituted.
pub(super) fn fill(kind: ResourceKind, spec: &mut Value) -> Result<(), SubstituteRefusal> {
    if !kind.has_members() {
        return Ok(());
    }
    let images = spec.get("release").cloned().unwrap_or_default();
    let names = images.as_object().into_iter().flatten();
    let release = DocumentRelease {
        names: names.map(|(name, _)| name.clone()).collect(),
        value: &|name, field| Some(images.get(name)?.get(field)?.as_str()?.to_owned()),
    };
    let release = (kind == ResourceKind::Group).then_some(&release);
    walk(spec, release, &FieldPath::of(["spec"]))
}

fn walk(
    value: &mut Value,
    release: Option<&DocumentRelease<'_>>,
    path: &FieldPath,
) -> Result<(), SubstituteRefusal> {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                walk(field, release, &path.clone().key(key))?;
            }
        }
        Value::Array(items) => {
            for (place, item) in items.iter_mut().enumerate() {
                walk(item, release, &path.clone().index(place))?;
            }
        }
        Value::String(text) if has(path, &["template", "diskTemplates"]) => {
            let template = DocumentText {
                text,
                field: last_key(&path.0),
                takes_values: has(path, &FILLED),
            };
            let filled = in_template(template, release);
            *text = filled.map_err(|(message, remedy)| (path.clone(), message, remedy))?;
        }
        _ => {}
    }
    Ok(())
}

fn has(path: &FieldPath, keys: &[&str]) -> bool {
    let mut segments = path.0.iter();
    segments.any(|one| matches!(one, PathSegment::Key(key) if keys.contains(&key.as_str())))
}
