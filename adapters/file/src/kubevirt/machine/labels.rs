//! The labels that a server gets from its machine and from the machine's template.

use vsiflow_workflows::spec::{FieldPath, meta::check_label_pair};

use super::{Fields, KubevirtMetadata, Refusals, entry, object, preset};
use crate::node::{Value, YamlEntry, YamlNode};

/// The labels of a machine's template.
pub(super) fn of_template(
    template: &mut Fields<'_>,
    refusals: &mut Refusals,
) -> Vec<(String, YamlNode)> {
    let mut metadata = template.object("metadata", refusals);
    metadata.take("creationTimestamp");
    let path = metadata.path("labels");
    let mut labels = Vec::new();
    if let Some(node) = metadata.take("labels") {
        // A node that is not an object is refused here.
        Fields::of(node, path.clone(), refusals);
        let entries = node.entries().iter();
        labels.extend(entries.map(|label| (label.key.clone(), label.node.clone())));
    }
    let pairs = labels.iter().map(|(key, label)| (key.as_str(), label));
    check(pairs, &path, refusals);
    let is_opt_out = |entry: &YamlEntry| preset::OPT_OUTS.contains(&entry.key.as_str());
    let annotations = metadata.peek("annotations");
    if annotations.is_some_and(|node| node.entries().iter().all(is_opt_out)) {
        metadata.texts("annotations", refusals);
    }
    metadata.end(refusals);
    labels
}

/// Refuses labels that no API server takes. A value that is no text is refused where the server is read.
pub(super) fn check<'n>(
    labels: impl IntoIterator<Item = (&'n str, &'n YamlNode)>,
    path: &FieldPath,
    refusals: &mut Refusals,
) {
    for (key, node) in labels {
        let checked = node.text().map(|value| check_label_pair(key, value));
        if let Some(Err(wrong)) = checked {
            refusals.wrong(path.clone().key(key), &wrong, "correct it, or remove it");
        }
    }
}

/// The machine's metadata, with those labels of its template whose keys it does not have.
pub(super) fn with_labels(
    metadata: &KubevirtMetadata<'_>,
    labels: Vec<(String, YamlNode)>,
) -> YamlNode {
    let mut node = metadata.node.cloned().unwrap_or_else(|| object([]));
    let Value::Map(fields) = &mut node.value else {
        return node;
    };
    if !labels.is_empty() && !fields.iter().any(|field| field.key == "labels") {
        fields.push(entry("labels", object([])));
    }
    for field in fields.iter_mut().filter(|field| field.key == "labels") {
        if let Value::Map(own) = &mut field.node.value {
            let new: Vec<_> = labels
                .iter()
                .filter(|(key, _)| !own.iter().any(|label| label.key == *key))
                .map(|(key, value)| entry(key, value.clone()))
                .collect();
            own.extend(new);
        }
    }
    node
}
