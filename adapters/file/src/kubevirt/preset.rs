//! Applies each `VirtualMachineInstancePreset` to the machines that it selects: its fields count where a
//! machine does not have them.

use vsiflow_workflows::spec::FieldPath;

use super::{
    AppliedPreset, Foreign, ForeignKind, KubevirtMetadata, PlacedRefusals, check_metadata,
    fields::{Fields, Refusals},
};
use crate::node::{Value, YamlEntry, YamlMark, YamlNode};
use crate::source::SourcePosition;

/// The annotations by which a machine takes no preset, as KubeVirt reads and as it documented them.
pub(super) const OPT_OUTS: [&str; 2] = [
    "virtualmachineinstancepresets.admission.kubevirt.io/exclude",
    "virtualmachinepresets.admission.kubevirt.io/exclude",
];

/// A preset that was read.
struct Preset {
    name: String,
    namespace: String,
    labels: Vec<(String, String)>,
    domain: YamlNode,
    place: SourcePosition,
}

impl Preset {
    /// The first field of which the other preset has another value.
    fn contradicts(&self, other: &Self) -> Option<FieldPath> {
        contradiction(
            &self.domain,
            &other.domain,
            FieldPath::of(["spec", "domain"]),
        )
    }
}

/// Refuses presets of one machine that have different values of a field.
fn refuse_contradictions(selected: &[&Preset], refused: &mut PlacedRefusals) {
    for (index, preset) in selected.iter().enumerate() {
        for other in selected.iter().take(index) {
            let Some(path) = other.contradicts(preset) else {
                continue;
            };
            let name = &other.name;
            let message =
                format!("preset {name} has another value of {path}, for the same machine");
            let mut refusals = Refusals::default();
            refusals.wrong(
                path,
                &message,
                "write the same value, or select other machines",
            );
            refused.add(&preset.place, refusals);
        }
    }
}

/// The first field of which two nodes without positions have different values.
fn contradiction(one: &YamlNode, other: &YamlNode, path: FieldPath) -> Option<FieldPath> {
    let (Value::Map(entries), Value::Map(_)) = (&one.value, &other.value) else {
        return (one != other).then_some(path);
    };
    entries.iter().find_map(|entry| {
        let its = other.get(&entry.key)?;
        contradiction(&entry.node, its, path.clone().key(&entry.key))
    })
}

/// Adds the fields of presets to the machines.
pub(super) fn apply(foreign: &mut [Foreign], refused: &mut PlacedRefusals) {
    let mut presets = Vec::new();
    for one in foreign.iter().filter(|one| one.kind == ForeignKind::Preset) {
        let mut refusals = Refusals::default();
        presets.push(read(one, &mut refusals));
        refused.add(&one.place, refusals);
    }
    for one in foreign.iter_mut() {
        let path = match one.kind {
            ForeignKind::VirtualMachine => FieldPath::of(["spec", "template"]),
            ForeignKind::VirtualMachineInstance => FieldPath::default(),
            ForeignKind::Preset | ForeignKind::DataVolume => continue,
        };
        let (namespace, _) = KubevirtMetadata::of(&one.node).key();
        let Some(instance) = one.node.find_mut(&path.0) else {
            continue;
        };
        let opts_out = opts_out(instance);
        let here = presets
            .iter()
            .filter(|preset| preset.namespace == namespace && !opts_out);
        let selected: Vec<_> = here.filter(|preset| selects(preset, instance)).collect();
        refuse_contradictions(&selected, refused);
        let mut applied = Vec::new();
        for preset in selected {
            fill(instance, preset);
            applied.push(AppliedPreset {
                place: preset.place.clone(),
                domain: path.clone().key("spec").key("domain"),
            });
        }
        one.presets = applied;
    }
}

fn read(foreign: &Foreign, refusals: &mut Refusals) -> Preset {
    let mut document = Fields::of(&foreign.node, FieldPath::default(), refusals);
    for key in ["apiVersion", "kind"] {
        document.take(key);
    }
    check_metadata(&mut document, refusals);
    let mut spec = document.object("spec", refusals);
    document.end(refusals);
    let mut selector = spec.object("selector", refusals);
    let path = selector.path("matchLabels");
    let labels = selector.texts("matchLabels", refusals).into_iter();
    let labels: Vec<_> = labels
        .filter_map(|(key, label)| Some((key.to_owned(), label.text()?.to_owned())))
        .collect();
    if labels.is_empty() {
        refusals.missing(
            path,
            "write the labels of the machines that the preset is for",
        );
    }
    selector.end(refusals);
    let domain = spec.take("domain").cloned();
    spec.end(refusals);
    let mut domain = domain.unwrap_or_else(|| YamlNode::nowhere(Value::Map(Vec::new())));
    clear_marks(&mut domain);
    let (namespace, name) = KubevirtMetadata::of(&foreign.node).key();
    Preset {
        name,
        namespace,
        labels,
        domain,
        place: foreign.place.clone(),
    }
}

/// Positions are those of the preset's document, and mean nothing in another one.
fn clear_marks(node: &mut YamlNode) {
    node.at = YamlMark::default();
    node.defined = YamlMark::default();
    match &mut node.value {
        Value::Map(entries) => {
            for entry in entries {
                entry.key_at = YamlMark::default();
                clear_marks(&mut entry.node);
            }
        }
        Value::List(nodes) => nodes.iter_mut().for_each(clear_marks),
        _ => {}
    }
}

fn child<'n>(node: &'n mut YamlNode, key: &str) -> Option<&'n mut YamlNode> {
    node.find_mut(&FieldPath::of([key]).0)
}

fn opts_out(instance: &YamlNode) -> bool {
    let metadata = instance.get("metadata");
    let annotations = metadata.and_then(|metadata| metadata.get("annotations"));
    let annotation = |key: &&str| annotations?.get(key)?.text();
    let mut values = OPT_OUTS.iter().filter_map(annotation);
    values.any(|value| value.eq_ignore_ascii_case("true"))
}

fn selects(preset: &Preset, instance: &YamlNode) -> bool {
    let labels = instance
        .get("metadata")
        .and_then(|metadata| metadata.get("labels"));
    let label = |key: &str| labels?.get(key)?.text();
    !preset.labels.is_empty()
        && preset
            .labels
            .iter()
            .all(|(key, value)| label(key) == Some(value))
}

fn fill(instance: &mut YamlNode, preset: &Preset) {
    let Some(spec) = child(instance, "spec") else {
        return;
    };
    match child(spec, "domain") {
        Some(domain) => merge(domain, &preset.domain),
        None => {
            if let Value::Map(entries) = &mut spec.value {
                entries.push(YamlEntry {
                    key: "domain".to_owned(),
                    key_at: YamlMark::default(),
                    node: preset.domain.clone(),
                });
            }
        }
    }
}

/// Adds the fields that are absent.
fn merge(own: &mut YamlNode, other: &YamlNode) {
    if matches!(own.value, Value::Null) {
        own.value = Value::Map(Vec::new());
    }
    let Value::Map(entries) = &mut own.value else {
        return;
    };
    for added in other.entries() {
        match entries.iter_mut().find(|entry| entry.key == added.key) {
            Some(entry) => merge(&mut entry.node, &added.node),
            None => entries.push(added.clone()),
        }
    }
}
