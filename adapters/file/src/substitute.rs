//! Fills in `$(group.release.…)` in a group's templates, which is known from the document itself. Refuses
//! references in fields that do not accept them.

use vsiflow_workflows::spec::{
    FieldPath, PathSegment,
    documents::{GROUP, POOL},
    last_key,
    substitute::{DocumentRelease, DocumentText, FILLED, in_template},
};

use crate::node::{Value, YamlNode};

/// The path of a field, a message and a remedy.
pub(crate) type SubstituteError = (FieldPath, String, String);

/// Fills the release into the templates of a group. Returns the errors of references; a wrong reference is
/// replaced by a filler in the tree.
pub(crate) fn fill(kind: &str, root: &mut YamlNode) -> Vec<SubstituteError> {
    if ![GROUP, POOL].contains(&kind) {
        return Vec::new();
    }
    let release = root
        .get("spec")
        .and_then(|spec| spec.get("release"))
        .cloned();
    let mut refusals = Vec::new();
    let mut walk = SubstituteWalk {
        release,
        is_group: kind == GROUP,
        refusals: &mut refusals,
    };
    walk.node(root, &mut Vec::new());
    refusals
}

struct SubstituteWalk<'a> {
    release: Option<YamlNode>,
    is_group: bool,
    refusals: &'a mut Vec<SubstituteError>,
}

impl SubstituteWalk<'_> {
    fn node(&mut self, node: &mut YamlNode, path: &mut Vec<PathSegment>) {
        match &mut node.value {
            Value::Map(entries) => {
                for entry in entries {
                    path.push(PathSegment::Key(entry.key.clone()));
                    self.node(&mut entry.node, path);
                    path.pop();
                }
            }
            Value::List(nodes) => {
                for (place, item) in nodes.iter_mut().enumerate() {
                    path.push(PathSegment::Index(place));
                    self.node(item, path);
                    path.pop();
                }
            }
            Value::Text(text) if is_in_template(path) => match self.text(text, path) {
                Ok(filled) => *text = filled,
                Err((message, remedy)) => {
                    self.refusals
                        .push((FieldPath(path.clone()), message, remedy));
                    node.value = Value::Filler("http://filler/filler");
                }
            },
            _ => {}
        }
    }

    fn text(&self, text: &str, path: &[PathSegment]) -> Result<String, (String, String)> {
        let takes_values = path.iter().any(
            |segment| matches!(segment, PathSegment::Key(key) if FILLED.contains(&key.as_str())),
        );
        let names = self.release.iter().flat_map(|release| release.entries());
        let release = DocumentRelease {
            names: names.map(|entry| entry.key.clone()).collect(),
            value: &|name, field| {
                let found = self.release.as_ref()?.get(name)?.get(field)?;
                Some(found.text()?.to_owned())
            },
        };
        let template = DocumentText {
            text,
            field: last_key(path),
            takes_values,
        };
        in_template(template, self.is_group.then_some(&release))
    }
}

fn is_in_template(path: &[PathSegment]) -> bool {
    path.iter().any(|segment| {
        matches!(segment, PathSegment::Key(key) if key == "template" || key == "diskTemplates")
    })
}
