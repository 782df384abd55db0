//! Translates manifests of KubeVirt and CDI into documents of vsiflow's own kinds, which are then read as
//! usual. A label or the command line says which host and pool they are for.
//!
//! A field without a counterpart is refused by its name; nothing is dropped or guessed.

mod data_volume;
mod fields;
mod guest;
mod machine;
mod names;
pub(crate) mod origin;
mod preset;
mod registry;

use std::collections::BTreeMap;
use std::sync::Arc;

use vsiflow_workflows::spec::{Documents, FieldPath, Memory, PathSegment, ProblemCode, Quantity};

use self::{
    data_volume::{DataVolume, VolumeSource},
    fields::{FieldRefusal, Fields, Refusals, object, text},
    origin::OriginPaths,
};
use crate::document::DocumentCollector;
use crate::manifest::strip;
use crate::node::{Value, YamlMark, YamlNode};
use crate::source::{NamePlace, SourcePosition, own_name};

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
    Preset,
    DataVolume,
}

/// The versions of KubeVirt's group, the newest first. Their machines have the same fields, except for names
/// that the oldest one gave to some.
const VERSIONS: [&str; 3] = [
    "kubevirt.io/v1",
    "kubevirt.io/v1alpha3",
    "kubevirt.io/v1alpha2",
];
const CDI_VERSIONS: [&str; 2] = ["cdi.kubevirt.io/v1beta1", "cdi.kubevirt.io/v1alpha1"];

/// The kind if it is a supported one of KubeVirt or CDI; `None` if the API group is another one.
///
/// # Errors
/// The wrong field, a message and a remedy.
pub(crate) fn known(
    api_version: &str,
    kind: &str,
) -> Result<Option<ForeignKind>, (&'static str, String, String)> {
    let group = api_version.split('/').next().unwrap_or_default();
    let versions: &[&str] = match group {
        KUBEVIRT => &VERSIONS,
        CDI => &CDI_VERSIONS,
        _ => return Ok(None),
    };
    let found = match (group, kind) {
        (KUBEVIRT, "VirtualMachine") => ForeignKind::VirtualMachine,
        (KUBEVIRT, "VirtualMachineInstance") => ForeignKind::VirtualMachineInstance,
        (KUBEVIRT, "VirtualMachineInstancePreset") => ForeignKind::Preset,
        (CDI, "DataVolume") => ForeignKind::DataVolume,
        _ => {
            let message = format!("kind {kind} of {group} is not supported");
            let remedy = "remove it; of KubeVirt and CDI the kinds VirtualMachine, \
                          VirtualMachineInstance, VirtualMachineInstancePreset and DataVolume are read";
            return Err(("kind", message, remedy.to_owned()));
        }
    };
    if versions.contains(&api_version) {
        return Ok(Some(found));
    }
    let message = format!("{kind} is not known in {api_version}");
    let remedy = format!(
        "write apiVersion: {}",
        versions.first().unwrap_or(&KUBEVIRT)
    );
    Err(("apiVersion", message, remedy))
}

/// A KubeVirt or CDI manifest, held until all inputs are read.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) kind: ForeignKind,
    pub(crate) node: YamlNode,
    pub(crate) place: SourcePosition,
    /// The presets that added fields to it.
    pub(crate) presets: Vec<AppliedPreset>,
}

/// A preset that added fields to a machine.
#[derive(Clone, Debug)]
pub(crate) struct AppliedPreset {
    place: SourcePosition,
    /// The path of `domain` in the machine.
    domain: FieldPath,
}

impl AppliedPreset {
    /// The path in the preset of a field of the machine, if the preset has it and the machine does not.
    fn path_of(&self, machine: &SourcePosition, path: &FieldPath) -> Option<FieldPath> {
        if machine.has(path) {
            return None;
        }
        let below = path.0.strip_prefix(self.domain.0.as_slice())?;
        let mut own = FieldPath::of(["spec", "domain"]);
        own.0.extend_from_slice(below);
        self.place.has(&own).then_some(own)
    }
}

/// The host and pool for one object, from its labels or the command line.
#[derive(Clone, Debug, Default)]
pub(super) struct Placement {
    target: Option<YamlNode>,
    pool: Option<YamlNode>,
}

/// A document that was translated from a manifest, and where its name is written if it is not the manifest's.
pub(super) struct MadeNode {
    node: YamlNode,
    name_at: Option<Arc<NamePlace>>,
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
        one.place.origin = Some(Arc::new(OriginPaths::of(&one.node)));
    }
    let mut refused = PlacedRefusals::default();
    for kind in [ForeignKind::DataVolume, ForeignKind::Preset] {
        refuse_duplicates(&foreign, kind, collector, &mut refused);
    }
    preset::apply(&mut foreign, &mut refused);
    let mut made: Vec<MadeDocuments> = Vec::new();
    let mut volumes = BTreeMap::new();
    let of_volumes = |one: &&Foreign| one.kind == ForeignKind::DataVolume;
    for one in foreign.iter().filter(of_volumes) {
        let mut refusals = Refusals::default();
        let metadata = KubevirtMetadata::of(&one.node);
        let mut volume = read_volume(&one.node, &mut refusals);
        volume.name_at = Some(Arc::new(NamePlace {
            place: one.place.clone(),
            path: own_name(),
        }));
        let known = KnownVolumes {
            volume,
            metadata: metadata.clone(),
            place: &one.place,
            used_by: None,
        };
        volumes.entry(metadata.key()).or_insert(known);
        refused.add(&one.place, refusals);
    }
    let is_machine =
        |one: &&Foreign| !matches!(one.kind, ForeignKind::DataVolume | ForeignKind::Preset);
    for one in foreign.iter().filter(is_machine) {
        let mut refusals = Refusals::default();
        let placement = KubevirtMetadata::of(&one.node).placement(target);
        let documents = machine::documents(one, &placement, &mut volumes, &mut refusals);
        made.extend(documents.into_iter().map(|MadeNode { mut node, name_at }| {
            guest::fit_secret_key(&mut node, &collector.documents);
            let (node, place) = placed(node, &one.place);
            (node, SourcePosition { name_at, ..place })
        }));
        refused.add_of_machine(one, refusals);
    }
    for known in volumes.values() {
        unused_volume(&mut refused, known, target, &mut made);
    }
    refused.report(collector);
    for one in foreign.iter().filter(is_machine) {
        warn_of_networks(one, collector);
    }
    default_networks(&collector.documents, &mut made);
    for (node, place) in made {
        collector.made(&node, place);
    }
}

/// Refuses manifests of a kind that have the name of an earlier one.
fn refuse_duplicates(
    foreign: &[Foreign],
    kind: ForeignKind,
    collector: &DocumentCollector,
    refused: &mut PlacedRefusals,
) {
    let named = match kind {
        ForeignKind::Preset => "VirtualMachineInstancePresets",
        _ => "DataVolumes",
    };
    let mut seen = BTreeMap::new();
    for one in foreign.iter().filter(|one| one.kind == kind) {
        let (namespace, name) = KubevirtMetadata::of(&one.node).key();
        // A missing name is refused where the manifest is read.
        if name.is_empty() {
            continue;
        }
        let Some(earlier) = seen.get(&(namespace.clone(), name.clone())) else {
            seen.insert((namespace, name), &one.place);
            continue;
        };
        let first = collector.place_words(earlier, &own_name());
        let mut refusals = Refusals::default();
        refusals.twice(
            own_name(),
            &format!("two {named} have the name {namespace}/{name}, first at {first}"),
            "give each its own name, or remove one",
        );
        refused.add(&one.place, refusals);
    }
}

/// Warns of networks of other namespaces: the machine gets that of this name in its own.
fn warn_of_networks(machine: &Foreign, collector: &mut DocumentCollector) {
    let (own, _) = KubevirtMetadata::of(&machine.node).key();
    let instance = match machine.kind {
        ForeignKind::VirtualMachine => FieldPath::of(["spec", "template"]),
        _ => FieldPath::default(),
    };
    for (path, namespace) in machine::network::of_other_namespaces(&machine.node, instance, &own) {
        let message = format!(
            "{path} names a network of the namespace {namespace}; the machine is on the one of this name in {own}"
        );
        let remedy = "write the name alone, and define the network in this namespace";
        let what = (ProblemCode::WrongValue, &path, false);
        collector.warn(&machine.place, what, message, remedy);
    }
}

/// Adds the document of the host's network `default` for machines that have it beside other networks, unless
/// there is one.
fn default_networks(documents: &Documents, made: &mut Vec<MadeDocuments>) {
    let mut added: Vec<MadeDocuments> = Vec::new();
    for (node, place) in made.iter() {
        let Some(reference) = machine::network::default_reference(node) else {
            continue;
        };
        let (namespace, name) = KubevirtMetadata::of(&reference).key();
        let refs = documents.network_refs.iter().map(|document| &document.meta);
        let networks = documents.networks.iter().map(|document| &document.meta);
        let is_there = refs
            .chain(networks)
            .any(|meta| meta.namespace == namespace && meta.name == name);
        let is_added = added.iter().any(|(other, _)| {
            KubevirtMetadata::of(other).key() == (namespace.clone(), name.clone())
        });
        if !is_there && !is_added {
            added.push(placed(reference, place));
        }
    }
    made.splice(0..0, added);
}

/// What is refused in all manifests.
#[derive(Default)]
struct PlacedRefusals(Vec<(SourcePosition, FieldRefusal)>);

impl PlacedRefusals {
    fn add(&mut self, place: &SourcePosition, refusals: Refusals) {
        let placed = refusals.0.into_iter().map(|one| (place.clone(), one));
        self.0.extend(placed);
    }

    /// Adds what is refused in a machine; a field that it has from a preset, in the preset.
    fn add_of_machine(&mut self, machine: &Foreign, refusals: Refusals) {
        for mut refusal in refusals.0 {
            let of_preset = machine.presets.iter().find_map(|preset| {
                let path = preset.path_of(&machine.place, &refusal.path)?;
                Some((preset.place.clone(), path))
            });
            let Some((place, path)) = of_preset else {
                self.0.push((machine.place.clone(), refusal));
                continue;
            };
            refusal.message = refusal
                .message
                .replace(&refusal.path.to_string(), &path.to_string());
            refusal.path = path;
            let is_same = |(other_place, other): &(SourcePosition, FieldRefusal)| {
                Arc::ptr_eq(&other_place.outline, &place.outline) && other.path == refusal.path
            };
            if !self.0.iter().any(is_same) {
                self.0.push((place, refusal));
            }
        }
    }

    /// Reports each; a field without a counterpart once, with all its places.
    fn report(self, collector: &mut DocumentCollector) {
        let mut reported: Vec<FieldPath> = Vec::new();
        for (place, refusal) in &self.0 {
            let pattern = without_indices(&refusal.path);
            let is_field = refusal.code == ProblemCode::UnknownField;
            if is_field && reported.contains(&pattern) {
                continue;
            }
            let mut message = refusal.message.clone();
            if is_field {
                let others = self.0.iter().filter(|(_, other)| {
                    !std::ptr::eq(other, refusal)
                        && other.code == ProblemCode::UnknownField
                        && without_indices(&other.path) == pattern
                });
                let others: Vec<_> = others
                    .map(|(at, other)| collector.place_words(at, &other.path))
                    .collect();
                if !others.is_empty() {
                    message = format!("{message}; also at {}", others.join(", "));
                }
                reported.push(pattern);
            }
            let what = (refusal.code, &refusal.path, refusal.at_key);
            collector.error(place, what, message, refusal.remedy.clone());
        }
    }
}

fn without_indices(path: &FieldPath) -> FieldPath {
    let keys = path.0.iter();
    let keys = keys.filter(|segment| matches!(segment, PathSegment::Key(_)));
    FieldPath(keys.cloned().collect())
}

/// Handles a `DataVolume` that no machine in these documents uses.
fn unused_volume(
    refused: &mut PlacedRefusals,
    known: &KnownVolumes<'_>,
    target: &KubevirtTarget,
    made: &mut Vec<MadeDocuments>,
) {
    if known.used_by.is_some() || known.volume.is_refused {
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
        // Said where it was read.
        VolumeSource::Refused => {}
        VolumeSource::Http(_) => {
            let mut refusals = Refusals::default();
            refusals.wrong(
                FieldPath::of(["spec", "source"]),
                "no virtual machine among these documents boots from it",
                "apply it together with its VirtualMachine, or run `vsiflow image upload`",
            );
            refused.add(known.place, refusals);
        }
    }
}

/// Refuses metadata that no object has. The name is checked where it is used.
fn check_metadata(document: &mut Fields<'_>, refusals: &mut Refusals) {
    let mut metadata = document.object("metadata", refusals);
    if metadata.text("name", refusals).is_none() && refusals.0.is_empty() {
        refusals.missing(metadata.path("name"), "name the object");
    }
    metadata.text("namespace", refusals);
    metadata.take("uid");
    for key in ["labels", "annotations"] {
        metadata.texts(key, refusals);
    }
    metadata.end(refusals);
}

fn read_volume(node: &YamlNode, refusals: &mut Refusals) -> DataVolume {
    let mut document = Fields::of(node, FieldPath::default(), refusals);
    for key in ["apiVersion", "kind"] {
        document.take(key);
    }
    check_metadata(&mut document, refusals);
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
        is_made: true,
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

/// The words of vsiflow's documents, and what manifests of KubeVirt call the same.
const WORDS: [(&str, &str); 9] = [
    ("spec.targetSelector", "the label vsiflow.io/target"),
    ("spec.storagePool", "the label vsiflow.io/pool"),
    ("spec.guest.hostname", "spec.hostname of the machine"),
    ("guest.userDataFrom", "cloudInitNoCloud.secretRef"),
    ("guest.userData", "cloudInitNoCloud.userData"),
    ("guest.networkConfig", "cloudInitNoCloud.networkData"),
    ("guest.sshKeys", "accessCredentials"),
    ("`type: ignition`", "cloudInitConfigDrive"),
    ("HyperProtectContainerRuntimeOnPremDataDisk", "DataVolume"),
];

/// Whether a document was made from a manifest of KubeVirt or CDI.
fn is_theirs(object: &str) -> bool {
    let kinds = ["VirtualMachine ", "VirtualMachineInstance ", "DataVolume "];
    kinds.iter().any(|kind| object.starts_with(kind))
}

/// A message about a translated document, in the words of its manifest.
pub(crate) fn in_their_words(message: &str, object: &str) -> Option<String> {
    if !is_theirs(object) {
        return None;
    }
    let kind = object.split(' ').next().unwrap_or_default();
    let mut text = message.replace("VirtualServer ", &format!("{kind} "));
    for (ours, theirs) in WORDS {
        text = text.replace(ours, theirs);
    }
    Some(text)
}

const MIB: u64 = 1 << 20;

/// A memory size in bytes, rounded up to whole MiB, in vsiflow's notation, in which a plain number is MiB.
fn memory(node: &YamlNode, path: FieldPath, refusals: &mut Refusals) -> Option<YamlNode> {
    let remedy = "write bytes or a unit, for example: 2Gi";
    let bytes = match &node.value {
        Value::Int(bytes) => u64::try_from(*bytes).ok(),
        Value::Text(text) => text.parse::<Quantity>().ok().map(Quantity::bytes),
        _ => None,
    };
    let Some(bytes) = bytes else {
        refusals.wrong(path, "this is not an amount of memory", remedy);
        return None;
    };
    let mib = bytes.div_ceil(MIB);
    // What would only be rounded up to memory is a number that was meant in another unit.
    if bytes < MIB || Memory::from_mib(mib).is_err() {
        let message = format!(
            "{bytes} bytes are not an amount of memory that a guest can have: 1Mi to 16Ti; a number without a unit is \
             bytes"
        );
        refusals.wrong(path, &message, remedy);
        return None;
    }
    Some(fields::instead(node, Value::Text(format!("{mib}Mi"))))
}
