//! Annotations of templates that members do not get.

use serde_json::Value;
use vsiflow_workflows::spec::{FieldPath, PathSegment};

/// The beginning of vsiflow's own annotations: each asks for something of exactly the object that has it.
pub(crate) const OWN_PREFIX: &str = "vsiflow.io/";

/// How many annotations are named: a status has little room.
const WARNINGS_MAX: usize = 16;

/// A warning for each of vsiflow's own annotations in the templates of a spec.
pub(super) fn warnings(spec: &Value) -> Vec<String> {
    let mut found = Vec::new();
    collect(spec, &mut FieldPath::of(["spec"]), &mut found);
    found.truncate(WARNINGS_MAX);
    found
}

/// The path is changed on the way and not copied: a tenant chooses how deep its spec is and how many fields it has.
fn collect(value: &Value, path: &mut FieldPath, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, field) in fields {
                path.0.push(PathSegment::Key(key.clone()));
                if key == "template" {
                    of_template(field, path, found);
                }
                collect(field, path, found);
                path.0.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.0.push(PathSegment::Index(index));
                collect(item, path, found);
                path.0.pop();
            }
        }
        _ => {}
    }
}

fn of_template(template: &Value, path: &FieldPath, found: &mut Vec<String>) {
    let annotations = template.pointer("/metadata/annotations");
    let annotations = annotations.and_then(Value::as_object);
    let own = annotations.into_iter().flat_map(|marks| marks.keys());
    for name in own.filter(|name| name.starts_with(OWN_PREFIX)) {
        let place = path.clone().key("metadata").key("annotations").key(name);
        found.push(format!(
            "{place} is not given to members, as it asks for something of one object; annotate the member itself"
        ));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_annotation_of_a_template_that_members_do_not_get_is_named() {
        let template = json!({"metadata": {"annotations": {"vsiflow.io/adopt": "x", "wave": "1"}}});
        let pool = json!({"replicas": 2, "template": template});
        assert_eq!(warnings(&pool).len(), 1);
        let group = json!({"waves": [{"members": [{"name": "a", "template": template}]}]});
        let named = warnings(&group).concat();
        let place = r#"spec.waves[0].members[0].template.metadata.annotations["vsiflow.io/adopt"]"#;
        assert!(named.starts_with(place), "{named}");
        assert!(warnings(&json!({"template": {"metadata": {"labels": {}}}})).is_empty());
    }
}
