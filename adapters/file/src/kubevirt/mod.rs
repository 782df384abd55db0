//! Translates manifests of KubeVirt and CDI into documents of vsiflow's own kinds, which are then read as
//! usual. A label or the command line says which host and pool they are for.
//!
//! A field without a counterpart is refused by its name; nothing is dropped or guessed.

mod data_volume;
mod fields;
mod guest;
mod machine;
mod registry;

use std::collections::BTreeMap;
use std::sync::Arc;

use vsiflow_workflows::spec::{FieldPath, Problem};

use self::{
    data_volume::{DataVolume, VolumeSource},
    fields::{Fields, Refusals, object, text},
};
use crate::document::DocumentCollector;
use crate::manifest::strip;
use crate::node::{Value, YamlMark, YamlNode};
use crate::source::SourcePosition;

const KUBEVIRT: &str = "kubevirt.io";
const CDI: &str = "cdi.kubevirt.io";

/// A label that names the host: the value of its settings' label `config`.
const TARGET: &str = "vsiflow.io/target";
/// A label that names the pool.
const POOL: &str = "vsiflow.io/pool";

/// The host and pool for objects from KubeVirt manifests, as given on the command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubevirtTarget {
    /// The labels of the host's settings; a value without a key is for the label `config`.
    pub target: BTreeMap<String, String>,
    /// The pool.
    pub pool: Option<String>,
}

/// The supported kinds of KubeVirt and CDI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ForeignKind {
    VirtualMachine,
    VirtualMachineInstance,
    DataVolume,
}

/// The kind if it is a supported one of KubeVirt or CDI; `None` if the API group is another one.
///
/// # Errors
/// The wrong field, a message and a remedy.
pub(crate) fn known(
    api_version: &str,
    kind: &str,
) -> Result<Option<ForeignKind>, (&'static str, String, String)> {
    let group = api_version.split('/').next().unwrap_or_default();
    let version = match group {
        KUBEVIRT => "kubevirt.io/v1",
        CDI => "cdi.kubevirt.io/v1beta1",
        _ => return Ok(None),
    };
    let found = match (group, kind) {
        (KUBEVIRT, "VirtualMachine") => ForeignKind::VirtualMachine,
        (KUBEVIRT, "VirtualMachineInstance") => ForeignKind::VirtualMachineInstance,
        (CDI, "DataVolume") => ForeignKind::DataVolume,
        _ => {
            let message = format!("kind {kind} of {group} is not supported");
            let remedy = "remove it; of KubeVirt and CDI the kinds VirtualMachine, \
                          VirtualMachineInstance and DataVolume are read";
            return Err(("kind", message, remedy.to_owned()));
        }
    };
    if api_version == version {
        Ok(Some(found))
    } else {
        let message = format!("{kind} is not known in {api_version}");
        Err((
            "apiVersion",
            message,
            format!("write apiVersion: {version}"),
        ))
    }
}

/// A KubeVirt or CDI manifest, held until all inputs are read.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) kind: ForeignKind,
    pub(crate) node: YamlNode,
    pub(crate) place: SourcePosition,
}

/// The host and pool for one object, from its labels or the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Placement {
    target: Option<YamlNode>,
    pool: Option<YamlNode>,
}

/// A document that was translated from a manifest, and its position.
type MadeDocuments = (YamlNode, SourcePosition);

/// A `DataVolume` and the machine that uses it.
struct KnownVolumes<'n> {
    volume: DataVolume,
    metadata: KubevirtMetadata<'n>,
    place: &'n SourcePosition,
    used_by: Option<String>,
}

/// The metadata of a KubeVirt or CDI object.
#[derive(Clone, Debug)]
pub(super) struct KubevirtMetadata<'n> {
    name: String,
    namespace: Option<&'n YamlNode>,
    node: Option<&'n YamlNode>,
}

impl<'n> KubevirtMetadata<'n> {
    fn of(node: &'n YamlNode) -> Self {
        let metadata = node.get("metadata");
        let text = |key| metadata.and_then(|metadata| metadata.get(key));
        let name = text("name").and_then(YamlNode::text).unwrap_or_default();
        Self {
            name: name.to_owned(),
            namespace: text("namespace"),
            node: metadata,
        }
    }

    fn label(&self, key: &str) -> Option<&'n YamlNode> {
        self.node?.get("labels")?.get(key)
    }

    fn key(&self) -> (String, String) {
        let namespace = self.namespace.and_then(YamlNode::text);
        (namespace.unwrap_or("default").to_owned(), self.name.clone())
    }

    fn placement(&self, target: &KubevirtTarget) -> Placement {
        let config = self.label(TARGET).map(|label| ("config".to_owned(), label));
        let labels: Vec<_> = if target.target.is_empty() {
            config
                .map(|(key, label)| (key, label.clone()))
                .into_iter()
                .collect()
        } else {
            target
                .target
                .iter()
                .map(|(key, value)| (key.clone(), text(value)))
                .collect()
        };
        let entries: Vec<_> = labels
            .into_iter()
            .map(|(key, value)| fields::entry(&key, value))
            .collect();
        let target_labels = data_volume::map(entries);
        Placement {
            target: target_labels
                .map(|target_labels| object([("matchLabels", Some(target_labels))])),
            pool: match &target.pool {
                Some(pool) => Some(text(pool)),
                None => self.label(POOL).cloned(),
            },
        }
    }
}

/// Translates manifests into documents and adds those to the collector.
pub(crate) fn translate(collector: &mut DocumentCollector, target: &KubevirtTarget) {
    let mut foreign = std::mem::take(&mut collector.foreign);
    for one in &mut foreign {
        strip(&mut one.node);
    }
    let mut made: Vec<MadeDocuments> = Vec::new();
    let mut volumes = BTreeMap::new();
    let of_volumes = |one: &&Foreign| one.kind == ForeignKind::DataVolume;
    for one in foreign.iter().filter(of_volumes) {
        let mut refusals = Refusals::default();
        let metadata = KubevirtMetadata::of(&one.node);
        if let Some(volume) = read_volume(&one.node, &mut refusals) {
            let known = KnownVolumes {
                volume,
                metadata: metadata.clone(),
                place: &one.place,
                used_by: None,
            };
            volumes.insert(metadata.key(), known);
        }
        refuse(collector, &one.place, refusals);
    }
    for one in foreign.iter().filter(|one| !of_volumes(one)) {
        let mut refusals = Refusals::default();
        let placement = KubevirtMetadata::of(&one.node).placement(target);
        made.extend(
            machine::documents(one, &placement, &mut volumes, &mut refusals)
                .into_iter()
                .map(|node| placed(node, &one.place)),
        );
        refuse(collector, &one.place, refusals);
    }
    for known in volumes.values() {
        unused_volume(collector, known, target, &mut made);
    }
    for (node, place) in made {
        collector.made(&node, place);
    }
}

/// Handles a `DataVolume` that no machine in these documents uses.
fn unused_volume(
    collector: &mut DocumentCollector,
    known: &KnownVolumes<'_>,
    target: &KubevirtTarget,
    made: &mut Vec<MadeDocuments>,
) {
    if known.used_by.is_some() {
        return;
    }
    let metadata = &known.metadata;
    match &known.volume.source {
        VolumeSource::Blank => {
            let placement = metadata.placement(target);
            let disk = data_volume::disk(
                &metadata.name,
                metadata.namespace,
                &known.volume,
                None,
                &placement,
            );
            made.push(placed(disk, known.place));
        }
        VolumeSource::Http(_) => {
            let mut refusals = Refusals::default();
            refusals.wrong(
                FieldPath::of(["spec", "source", "http"]),
                "no virtual machine among these documents boots from it",
                "apply it together with its VirtualMachine, or run `vsiflow image upload`",
            );
            refuse(collector, known.place, refusals);
        }
    }
}

fn read_volume(node: &YamlNode, refusals: &mut Refusals) -> Option<DataVolume> {
    let mut document = Fields::of(node, FieldPath::default(), refusals);
    for key in ["apiVersion", "kind", "metadata"] {
        document.take(key);
    }
    let spec = document.object("spec", refusals);
    document.end(refusals);
    data_volume::read(spec, refusals)
}

/// The document with the positions of its manifest, so that diagnostics point there.
fn placed(node: YamlNode, place: &SourcePosition) -> MadeDocuments {
    let mut outline = node.outline();
    let start = place.mark(&FieldPath::default(), true);
    fill_marks(&mut outline, start);
    let place = SourcePosition {
        outline: Arc::new(outline),
        prefix: Vec::new(),
        ..place.clone()
    };
    (node, place)
}

/// Gives nodes without a position the position where their manifest begins.
fn fill_marks(node: &mut YamlNode, start: YamlMark) {
    let here = |mark: &mut YamlMark| {
        if mark.line == 0 {
            *mark = YamlMark { length: 1, ..start };
        }
    };
    here(&mut node.at);
    match &mut node.value {
        Value::Map(entries) => {
            for entry in entries {
                here(&mut entry.key_at);
                fill_marks(&mut entry.node, start);
            }
        }
        Value::List(nodes) => nodes.iter_mut().for_each(|item| fill_marks(item, start)),
        _ => {}
    }
}

/// The remedy for a problem in a translated document, if it differs from the usual one.
pub(crate) fn remedy(problem: &Problem, object: &str) -> Option<&'static str> {
    let of_theirs = ["VirtualMachine ", "VirtualMachineInstance ", "DataVolume "];
    let is_theirs = of_theirs.iter().any(|kind| object.starts_with(kind));
    let is_target = problem.path == FieldPath::of(["spec", "targetSelector"]);
    (is_theirs && is_target).then_some(
        "say where it runs: with --target config=lab, or by the label vsiflow.io/target: lab",
    )
}

fn refuse(collector: &mut DocumentCollector, place: &SourcePosition, refusals: Refusals) {
    for one in refusals.0 {
        let what = (one.code, &one.path, one.at_key);
        collector.error(place, what, one.message, one.remedy);
    }
}

/// A memory size in bytes, converted to vsiflow's notation, in which a plain number is MiB.
fn memory(node: &YamlNode, path: FieldPath, refusals: &mut Refusals) -> Option<YamlNode> {
    let bytes = match &node.value {
        Value::Int(bytes) => *bytes,
        Value::Text(text) => match text.parse() {
            Ok(bytes) => bytes,
            Err(_) => return Some(node.clone()),
        },
        _ => return Some(node.clone()),
    };
    let mib: i128 = 1 << 20;
    if bytes <= 0 || bytes % mib != 0 {
        refusals.wrong(
            path,
            "this is not a whole number of MiB",
            "write it with a unit, for example: 2Gi",
        );
        return None;
    }
    Some(fields::instead(node, Value::Int(bytes / mib)))
}
