//! Loads documents from files, directories and standard input.

use std::io::Read;

use vsiflow_workflows::spec::{
    Documents, FieldPath, HostSettings, Problem, ProblemCode, Resolved, host, resolve::resolve,
};

use crate::document::DocumentCollector;
use crate::input::{self, Input, InputText};
use crate::kubevirt::{self, KubevirtTarget};
use crate::node::YamlNode;
use crate::redact::{HIDDEN, lines, secrets, suspects};
use crate::source::{DocumentSource, SourcePosition};
use crate::split::{Chunk, split, without_marks};
use crate::yaml::{YamlError, parse};
use vsiflow_workflows::spec::{Diagnostic, DiagnosticSeverity, Diagnostics};

/// How many documents one apply may have, including items of lists.
pub const MAX_DOCUMENTS: usize = 1000;

/// How many YAML nodes all inputs may have, for each permitted document. Aliases can expand a few bytes to
/// many nodes.
const NODES_PER_DOCUMENT: usize = 400;
/// The upper bound of YAML nodes, however many documents are permitted.
const MAX_NODES: usize = 2_000_000;

/// Documents that were read without an error, with their positions in the files.
#[derive(Debug)]
pub struct Loaded {
    /// The documents.
    pub documents: Documents,
    /// Warnings, for example about skipped documents.
    pub warnings: Vec<Diagnostic>,
    sources: Vec<DocumentSource>,
    places: Vec<SourcePosition>,
}

/// Reads all inputs. Reads subdirectories only if `recursive`.
///
/// # Errors
/// Every error in all files.
pub fn load(
    inputs: &[Input],
    recursive: bool,
    stdin: &mut dyn Read,
) -> Result<Loaded, Diagnostics> {
    load_for(inputs, recursive, stdin, KubevirtTarget::default())
}

/// Like [`load`], with the host and pool for objects from KubeVirt manifests.
///
/// # Errors
/// As for [`load`].
pub fn load_for(
    inputs: &[Input],
    recursive: bool,
    stdin: &mut dyn Read,
    target: KubevirtTarget,
) -> Result<Loaded, Diagnostics> {
    let mut loader = Loader {
        target,
        ..Loader::default()
    };
    loader.all(inputs, recursive, stdin);
    loader.finish()
}

/// Reads inputs with at most `most` documents. A synchronised directory may have more than one apply.
///
/// # Errors
/// As for [`load`].
pub fn load_up_to(most: usize, inputs: &[Input]) -> Result<Loaded, Diagnostics> {
    let mut loader = Loader {
        most,
        ..Loader::default()
    };
    loader.all(inputs, false, &mut std::io::empty());
    loader.finish()
}

/// Reads one text in memory; diagnostics use `name` for it.
///
/// # Errors
/// Every error in the text.
pub fn load_text(name: &str, bytes: &[u8]) -> Result<Loaded, Diagnostics> {
    let mut loader = Loader::default();
    loader.text(&InputText {
        name: name.to_owned(),
        bytes: bytes.to_vec(),
    });
    loader.finish()
}

impl Loaded {
    /// Resolves every selector; see [`resolve`].
    ///
    /// # Errors
    /// Every reference that does not fit, each with its position.
    pub fn resolve(&self, host: Option<&HostSettings>) -> Result<Resolved, Diagnostics> {
        resolve(&self.documents, host).map_err(|problems| self.explain(&problems))
    }

    /// Turns problems into diagnostics with their positions in the files.
    pub fn explain(&self, problems: &[Problem]) -> Diagnostics {
        Diagnostics(
            problems
                .iter()
                .map(|problem| self.problem(problem))
                .collect(),
        )
    }

    /// Turns problems into warnings with their positions in the files.
    pub fn warn_of(&self, problems: &[Problem]) -> Vec<Diagnostic> {
        let Diagnostics(mut all) = self.explain(problems);
        all.iter_mut()
            .for_each(|one| one.severity = DiagnosticSeverity::Warning);
        all
    }

    /// Warnings about secrets in ConfigMaps, which are not protected from being read.
    pub fn exposed(&self) -> Vec<Diagnostic> {
        let all = self.documents.config_maps.iter();
        let exposed = all.flat_map(|map| {
            let keys = host::exposed(&map.spec).into_iter();
            keys.map(move |key| (map, key))
        });
        let problems = exposed.map(|(map, key)| {
            let message = format!("{key} is a secret, and a ConfigMap is for everybody to read");
            let remedy = "move it to a Secret with the same labels";
            let path = FieldPath::of(["data", key]);
            map.problem(ProblemCode::HostSettings, path, message, remedy)
        });
        self.warn_of(&problems.collect::<Vec<_>>())
    }

    fn problem(&self, problem: &Problem) -> Diagnostic {
        match self.places.get(problem.document.index) {
            Some(place) => {
                let object = place.object.as_deref().unwrap_or_default();
                let mut diagnostic = place.problem(&self.sources, problem);
                for words in [&mut diagnostic.message, &mut diagnostic.remedy] {
                    if let Some(theirs) = kubevirt::in_their_words(words, object) {
                        *words = theirs;
                    }
                }
                diagnostic
            }
            None => {
                let (message, remedy) = (problem.message.clone(), problem.remedy.clone());
                Diagnostic::of_file(&problem.document.source, problem.code, message, remedy)
            }
        }
    }
}

/// A document and the result of parsing it.
type Parsed<'a> = (Chunk<'a>, Result<YamlNode, YamlError>);

struct Loader {
    collector: DocumentCollector,
    target: KubevirtTarget,
    /// How many documents are permitted.
    most: usize,
    nodes: usize,
    full: bool,
}

impl Default for Loader {
    fn default() -> Self {
        Self {
            collector: DocumentCollector::default(),
            target: KubevirtTarget::default(),
            most: MAX_DOCUMENTS,
            nodes: 0,
            full: false,
        }
    }
}

impl Loader {
    fn all(&mut self, inputs: &[Input], recursive: bool, stdin: &mut dyn Read) {
        for text in inputs
            .iter()
            .flat_map(|input| input::read(input, recursive, stdin))
        {
            match text {
                Ok(text) => self.text(&text),
                Err(diagnostic) => self.collector.diagnostics.push(diagnostic),
            }
        }
    }

    fn text(&mut self, text: &InputText) {
        let decoded = std::str::from_utf8(&text.bytes).ok();
        // UTF-16 without its mark: each letter has a zero beside it.
        let decoded = decoded.filter(|decoded| !decoded.contains('\0'));
        let Some(content) = decoded.map(without_marks) else {
            let message = format!("{} is not UTF-8 text", text.name);
            let remedy = "save it as UTF-8; an image or an archive is not a manifest";
            let diagnostic = Diagnostic::of_file(&text.name, ProblemCode::NotYaml, message, remedy);
            return self.collector.diagnostics.push(diagnostic);
        };
        let chunks = split(&content);
        if self.collector.seen.saturating_add(chunks.len()) > self.most {
            return self.too_many(&text.name);
        }
        let parsed = self.parse(&text.name, chunks);
        let source = self.collector.sources.len();
        let lines = shown(&content, &parsed);
        self.collector.sources.push(DocumentSource {
            name: text.name.clone(),
            lines,
        });
        for (chunk, result) in parsed {
            match result {
                Ok(node) => self.node(&node, source, chunk),
                Err(error) => self.unreadable(&error, source, chunk),
            }
        }
    }

    /// Parses documents until the limit of YAML nodes is exceeded.
    fn parse<'a>(&mut self, name: &str, chunks: Vec<Chunk<'a>>) -> Vec<Parsed<'a>> {
        let mut parsed = Vec::new();
        for chunk in chunks {
            let result = parse(chunk.text);
            self.nodes = self.nodes.saturating_add(
                result
                    .as_ref()
                    .map_or_else(|error| error.cost, YamlNode::count),
            );
            if self.nodes > self.most.saturating_mul(NODES_PER_DOCUMENT).min(MAX_NODES) {
                self.too_many(name);
                break;
            }
            parsed.push((chunk, result));
        }
        parsed
    }

    fn node(&mut self, node: &YamlNode, source: usize, chunk: Chunk<'_>) {
        self.collector.take(node, source, chunk.lines_before);
        if self.collector.seen > self.most {
            let name = self
                .collector
                .sources
                .get(source)
                .map(|source| source.name.clone());
            self.too_many(&name.unwrap_or_default());
        }
    }

    fn too_many(&mut self, name: &str) {
        if !std::mem::replace(&mut self.full, true) {
            let message = format!("these are more than {} documents", self.most);
            let remedy = "apply them in several steps";
            let diagnostic = Diagnostic::of_file(name, ProblemCode::CannotRead, message, remedy);
            self.collector.diagnostics.push(diagnostic);
        }
    }

    fn unreadable(&mut self, error: &YamlError, source: usize, chunk: Chunk<'_>) {
        let Some(source) = self.collector.sources.get(source) else {
            return;
        };
        let mut diagnostic = Diagnostic::of_file(
            &source.name,
            error.code,
            error.message.clone(),
            error.remedy,
        );
        source.point(&mut diagnostic, error.at, chunk.lines_before);
        // The parser's message may repeat the line's content.
        let hidden = diagnostic
            .snippet
            .as_ref()
            .is_none_or(|line| line.text.contains(HIDDEN));
        if hidden && error.code == ProblemCode::NotYaml {
            diagnostic.message = "this is not YAML".to_owned();
        }
        self.collector.seen += 1;
        self.collector.diagnostics.push(diagnostic);
    }

    fn finish(mut self) -> Result<Loaded, Diagnostics> {
        kubevirt::translate(&mut self.collector, &self.target);
        let DocumentCollector {
            documents,
            places,
            sources,
            mut diagnostics,
            ..
        } = self.collector;
        let failed = |one: &Diagnostic| one.severity == DiagnosticSeverity::Error;
        if documents.is_empty() && !diagnostics.iter().any(failed) {
            diagnostics.push(nothing(&sources));
        }
        if diagnostics.iter().any(failed) {
            return Err(Diagnostics(diagnostics));
        }
        Ok(Loaded {
            documents,
            warnings: diagnostics,
            sources,
            places,
        })
    }
}

fn nothing(sources: &[DocumentSource]) -> Diagnostic {
    let name = match sources {
        [] => "no input",
        [only] => only.name.as_str(),
        _ => "the files",
    };
    let message = format!("{name} holds nothing to apply");
    let remedy = "add a document of kind HyperProtectContainerRuntimeOnPrem";
    Diagnostic::of_file(name, ProblemCode::NothingToApply, message, remedy)
}

/// The lines of a text with secrets hidden.
fn shown(content: &str, parsed: &[Parsed<'_>]) -> Vec<crate::redact::RedactedLine> {
    let mut hidden = Vec::new();
    for (chunk, result) in parsed {
        let spans = match result {
            Ok(node) => secrets(node).unwrap_or_else(|| vec![(0, chunk.text.len())]),
            Err(_) => suspects(chunk.text),
        };
        let shifted = spans.into_iter().map(|(start, end)| {
            (
                start.saturating_add(chunk.bytes_before),
                end.saturating_add(chunk.bytes_before),
            )
        });
        hidden.extend(shifted);
    }
    lines(content, hidden)
}

#[cfg(test)]
mod fuzz;
