//! Converts a YAML tree into a document of its kind.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use vsiflow_workflows::spec::documents::{
    API_VERSION, CONFIG_MAP, DATA_DISK, DATA_DISK_REF, GROUP, NETWORK, NETWORK_REF, POOL, QUOTA,
    SECRET, SERVER_TYPE, SNAPSHOT, VIRTUAL_SERVER, VSI, VSIFLOW_API_VERSION,
};
use vsiflow_workflows::spec::{
    Document, DocumentRef, Documents, FieldPath, ObjectMeta, PathSegment, ProblemCode,
    VirtualServerSpec, VsiSpec,
};

use crate::hints::closest;
use crate::kubevirt::{self, Foreign};
use crate::manifest::{ConfigMapManifest, KINDS, Manifest, SecretManifest, strip};
use crate::messages::words;
use crate::node::{Value, YamlNode};
use crate::read::read;
use crate::source::{DocumentSource, SourcePosition};
use crate::substitute;
use vsiflow_workflows::spec::{Diagnostic, DiagnosticSeverity};

/// A list may hold documents, and a list may hold lists. Deeper nesting is refused.
const MAX_LIST_DEPTH: usize = 2;

/// Collects documents one by one, sorted by kind.
#[derive(Debug, Default)]
pub(crate) struct DocumentCollector {
    pub(crate) documents: Documents,
    /// The position of each document in its file, by the index of its reference.
    pub(crate) places: Vec<SourcePosition>,
    pub(crate) sources: Vec<DocumentSource>,
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// How many documents were read, of any kind, including skipped ones.
    pub(crate) seen: usize,
    /// Manifests of KubeVirt and CDI, held until all inputs are read.
    pub(crate) foreign: Vec<Foreign>,
}

/// A document's kind and version, read before the rest of it.
struct DocumentHeader {
    kind: String,
    api_version: String,
}

impl DocumentCollector {
    /// Adds a document of the file with the index `source`.
    pub(crate) fn take(&mut self, root: &YamlNode, source: usize, lines_before: usize) {
        let place = SourcePosition {
            source,
            lines_before,
            outline: Arc::new(root.outline()),
            prefix: Vec::new(),
            object: None,
            origin: None,
            is_made: false,
            name_at: None,
        };
        self.node(root, place, 0);
    }

    fn node(&mut self, node: &YamlNode, mut place: SourcePosition, depth: usize) {
        self.seen += 1;
        let header = match header(node) {
            Ok(header) => header,
            Err((path, message, remedy)) => {
                let code = match node.value {
                    Value::Map(_) => ProblemCode::MissingField,
                    _ => ProblemCode::WrongValue,
                };
                return self.error(&place, (code, &path, true), message, remedy);
            }
        };
        place.object = Some(object(&header.kind, node));
        if header.kind.ends_with("List") && node.get("items").is_some() {
            return self.items(node, &place, depth);
        }
        match kubevirt::known(&header.api_version, &header.kind) {
            Ok(None) => {}
            Ok(Some(kind)) => {
                let node = node.clone();
                return self.foreign.push(Foreign {
                    kind,
                    node,
                    place,
                    presets: Vec::new(),
                });
            }
            Err((field, message, remedy)) => {
                let what = (ProblemCode::UnknownKind, &FieldPath::of([field]), false);
                return self.error(&place, what, message, remedy);
            }
        }
        match known(&header) {
            Ok(Some(kind)) => self.document(kind, node, place),
            Ok(None) => self.skip(&place, &header),
            Err((field, message, remedy)) => {
                let what = (ProblemCode::UnknownKind, &FieldPath::of([field]), false);
                self.error(&place, what, message, remedy);
            }
        }
    }

    /// Adds a document that was translated from a KubeVirt or CDI manifest.
    pub(crate) fn made(&mut self, node: &YamlNode, place: SourcePosition) {
        let kind = header(node).ok().and_then(|header| known(&header).ok());
        if let Some(kind) = kind.flatten() {
            self.document(kind, node, place);
        }
    }

    fn items(&mut self, list: &YamlNode, place: &SourcePosition, depth: usize) {
        let path = FieldPath::of(["items"]);
        let what = (ProblemCode::WrongValue, &path, false);
        let items = match list.get("items").map(|items| &items.value) {
            Some(Value::List(items)) if depth < MAX_LIST_DEPTH => items,
            Some(Value::List(_)) => {
                return self.error(place, what, "lists are nested too deep", "write one list");
            }
            Some(Value::Null) => return,
            _ => {
                let remedy = "write the documents as a list: items: [{apiVersion: …, kind: …}]";
                return self.error(place, what, "items is not a list", remedy);
            }
        };
        for (index, item) in items.iter().enumerate() {
            let mut prefix = place.prefix.clone();
            prefix.extend([
                PathSegment::Key("items".to_owned()),
                PathSegment::Index(index),
            ]);
            self.node(
                item,
                SourcePosition {
                    prefix,
                    object: None,
                    ..place.clone()
                },
                depth + 1,
            );
        }
    }

    fn document(&mut self, kind: &'static str, node: &YamlNode, place: SourcePosition) {
        let mut node = node.clone();
        strip(&mut node);
        for (path, message, remedy) in substitute::fill(kind, &mut node) {
            let what = (ProblemCode::WrongValue, &path, false);
            self.error(&place, what, message, remedy);
        }
        match kind {
            VSI => self.parse(kind, &node, place, |documents| &mut documents.vsis),
            VIRTUAL_SERVER => {
                let found = self.read::<Manifest<VirtualServerSpec>>(kind, &node, &place);
                let found = found.map(|found| (found.metadata, VsiSpec::from(found.spec)));
                self.add(kind, found, place, |documents| &mut documents.vsis);
            }
            SERVER_TYPE => self.parse(kind, &node, place, |documents| &mut documents.types),
            QUOTA => self.parse(kind, &node, place, |documents| &mut documents.quotas),
            POOL => self.parse(kind, &node, place, |documents| &mut documents.pools),
            GROUP => self.parse(kind, &node, place, |documents| &mut documents.groups),
            SNAPSHOT => self.parse(kind, &node, place, |documents| &mut documents.snapshots),
            DATA_DISK => self.parse(kind, &node, place, |documents| &mut documents.data_disks),
            DATA_DISK_REF => self.parse(kind, &node, place, |documents| {
                &mut documents.data_disk_refs
            }),
            NETWORK => self.parse(kind, &node, place, |documents| &mut documents.networks),
            NETWORK_REF => self.parse(kind, &node, place, |documents| &mut documents.network_refs),
            CONFIG_MAP => {
                let found = self.read(kind, &node, &place);
                let found = found.map(ConfigMapManifest::split);
                self.add(kind, found, place, |documents| &mut documents.config_maps);
            }
            SECRET => {
                let found = self.read(kind, &node, &place);
                let found = found.map(SecretManifest::split);
                self.add(kind, found, place, |documents| &mut documents.secrets);
            }
            _ => {}
        }
    }

    fn parse<T: DeserializeOwned>(
        &mut self,
        kind: &'static str,
        node: &YamlNode,
        place: SourcePosition,
        list: fn(&mut Documents) -> &mut Vec<Document<T>>,
    ) {
        let found = self.read::<Manifest<T>>(kind, node, &place);
        self.add(
            kind,
            found.map(|found| (found.metadata, found.spec)),
            place,
            list,
        );
    }

    fn read<T: DeserializeOwned>(
        &mut self,
        kind: &str,
        node: &YamlNode,
        place: &SourcePosition,
    ) -> Option<T> {
        let faults = match read::<T>(node) {
            Ok(found) => return Some(found),
            Err(faults) => faults,
        };
        for words in faults.iter().map(|fault| words(kind, fault)) {
            let what = (words.code, &words.path, words.at_key);
            self.error(place, what, words.message, words.remedy);
        }
        None
    }

    fn add<T>(
        &mut self,
        kind: &'static str,
        found: Option<(ObjectMeta, T)>,
        place: SourcePosition,
        list: fn(&mut Documents) -> &mut Vec<Document<T>>,
    ) {
        let Some((meta, spec)) = found else { return };
        let source = self
            .sources
            .get(place.file())
            .map(|source| source.name.clone());
        let line = place.line();
        let at = DocumentRef {
            index: self.places.len(),
            source: source.unwrap_or_default(),
            line: Some(line),
        };
        list(&mut self.documents).push(Document {
            at,
            kind,
            meta,
            spec,
        });
        self.places.push(place);
    }

    /// A place in words: file, line and document.
    pub(crate) fn place_words(&self, place: &SourcePosition, path: &FieldPath) -> String {
        let file = self
            .sources
            .get(place.source)
            .map(|source| source.name.as_str());
        let line = place.line_of(path);
        let object = place.object.as_deref().unwrap_or_default();
        format!("{}:{line} ({object})", file.unwrap_or_default())
    }

    pub(crate) fn error(
        &mut self,
        place: &SourcePosition,
        what: (ProblemCode, &FieldPath, bool),
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.diagnostics
            .push(place.diagnostic(&self.sources, what, message, remedy));
    }

    /// Warns of something that is taken otherwise than it may be meant.
    pub(crate) fn warn(
        &mut self,
        place: &SourcePosition,
        what: (ProblemCode, &FieldPath, bool),
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let mut diagnostic = place.diagnostic(&self.sources, what, message, remedy);
        diagnostic.severity = DiagnosticSeverity::Warning;
        self.diagnostics.push(diagnostic);
    }

    fn skip(&mut self, place: &SourcePosition, header: &DocumentHeader) {
        let names: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        let remedy = match closest(&header.kind, &names) {
            Some(kind) => format!("did you mean `{kind}`? Otherwise nothing is to do"),
            None => "nothing is to do if another tool applies it".to_owned(),
        };
        let message = format!("kind {} ({}) is skipped", header.kind, header.api_version);
        let what = (ProblemCode::UnknownKind, &FieldPath::of(["kind"]), false);
        self.warn(place, what, message, remedy);
    }
}

/// The kind and version; on failure the path of the wrong field, a message and a remedy.
fn header(node: &YamlNode) -> Result<DocumentHeader, (FieldPath, String, &'static str)> {
    if !matches!(node.value, Value::Map(_)) {
        let message = format!(
            "this document is {}, and must be an object",
            node.value.words()
        );
        return Err((
            FieldPath::default(),
            message,
            "begin it with apiVersion: and kind:",
        ));
    }
    let text = |field: &'static str, remedy: &'static str| match node.get(field).map(|n| n.text()) {
        Some(Some(text)) if !text.is_empty() => Ok(text.chars().take(100).collect::<String>()),
        Some(_) => Err((
            FieldPath::of([field]),
            format!("{field} is not text"),
            remedy,
        )),
        None => Err((
            FieldPath::of([field]),
            format!("{field} is missing"),
            remedy,
        )),
    };
    Ok(DocumentHeader {
        api_version: text(
            "apiVersion",
            "add it, for example: apiVersion: hpse.ibm.com/v1",
        )?,
        kind: text(
            "kind",
            "add it, for example: kind: HyperProtectContainerRuntimeOnPrem",
        )?,
    })
}

/// `kind namespace/name`, as far as they are known.
pub(crate) fn object(kind: &str, node: &YamlNode) -> String {
    let of = |field| {
        node.get("metadata")?
            .get(field)?
            .text()
            .map(|text| text.chars().take(253))
    };
    match of("name") {
        Some(name) => {
            let namespace = of("namespace").map_or("default".to_owned(), Iterator::collect);
            format!("{kind} {namespace}/{}", name.collect::<String>())
        }
        None => kind.to_owned(),
    }
}

/// The kind if vsiflow reads it; `None` if its API group is not vsiflow's.
///
/// # Errors
/// The wrong field, a message and a remedy.
fn known(header: &DocumentHeader) -> Result<Option<&'static str>, (&'static str, String, String)> {
    let DocumentHeader { kind, api_version } = header;
    let group = |version: &str| version.split('/').next().map(str::to_owned);
    if let Some((name, version)) = KINDS.iter().find(|(name, _)| *name == kind.as_str()) {
        if version == api_version {
            return Ok(Some(name));
        }
        let message = format!("{kind} is not known in {api_version}");
        return Err((
            "apiVersion",
            message,
            format!("write apiVersion: {version}"),
        ));
    }
    let groups = [API_VERSION, VSIFLOW_API_VERSION];
    let Some(ours) = groups
        .into_iter()
        .find(|ours| group(api_version) == group(ours))
    else {
        return Ok(None);
    };
    let own: Vec<&str> = KINDS
        .iter()
        .filter(|(_, v)| *v == ours)
        .map(|(name, _)| *name)
        .collect();
    let remedy = if kind.to_ascii_lowercase().contains("vpc") {
        "remove it; virtual servers in a cloud's VPC are not managed here".to_owned()
    } else {
        match closest(kind, &own) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("the kinds are {}", own.join(", ")),
        }
    };
    Err(("kind", format!("{api_version} has no kind {kind}"), remedy))
}
