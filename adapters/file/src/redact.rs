//! Hides secrets in the lines that diagnostics show.
//!
//! In a document that was parsed, the positions of its secrets are known. In one that could not be parsed,
//! everything from the first possible secret on is hidden, except the values of fields that hold no secrets.

use crate::node::{Value, YamlMark, YamlNode};
use crate::secrecy::{self, Secrecy};

/// The text shown in place of a secret.
pub(crate) const HIDDEN: &str = "<hidden>";

/// Host settings that may be shown.
const HARMLESS_KEYS: &[&str] = &[
    "HOSTNAME",
    "PORT",
    "USER",
    "KEY_FILE",
    "KNOWN_HOSTS",
    "KNOWN_HOSTS_FILE",
    "SOCKET",
    "INSECURE_SKIP_HOST_KEY",
    "PROXY_JUMP",
    "OVERCOMMIT_CPUS",
    "OVERCOMMIT_MEMORY",
    "OVERCOMMIT_POOL",
    "DEVICES",
];

/// Metadata that may be shown. Annotations are not: some hold a copy of the whole object.
const HARMLESS_METADATA: &[&str] = &["name", "namespace", "uid", "labels", "generation"];

/// Fields outside specs that may be shown.
const HARMLESS_ANYWHERE: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "namespace",
    "labels",
    "uid",
    "spec",
    "data",
    "type",
];

/// Texts that mark a line as secret anywhere.
const SECRET_WORDS: &[&str] = &["PRIVATE KEY", "hyper-protect-basic.", "contract-basic."];

/// The byte ranges of a document's secrets; `None` if a position is unknown and all must be hidden.
pub(crate) fn secrets(document: &YamlNode) -> Option<Vec<(usize, usize)>> {
    let mut spans = Vec::new();
    let known = match document.get("items").map(|items| &items.value) {
        Some(Value::List(items)) => items.iter().all(|item| secrets_of(item, &mut spans)),
        _ => secrets_of(document, &mut spans),
    };
    known.then_some(spans)
}

fn secrets_of(document: &YamlNode, spans: &mut Vec<(usize, usize)>) -> bool {
    let kind = document
        .get("kind")
        .and_then(YamlNode::text)
        .unwrap_or_default();
    document
        .entries()
        .iter()
        .all(|entry| match (entry.key.as_str(), kind) {
            ("apiVersion" | "kind" | "type" | "immutable", _) => true,
            ("metadata", _) => hide_except(&entry.node, HARMLESS_METADATA, spans),
            ("spec", _) if is_of_kubevirt(document) => of_kubevirt("spec", &entry.node, spans),
            ("spec", _) => spec(&entry.node, secrecy::spec(), spans),
            ("data" | "stringData", "Secret") => hide_except(&entry.node, &[], spans),
            ("data", "ConfigMap") => hide_except(&entry.node, HARMLESS_KEYS, spans),
            _ => hide(&entry.node, spans),
        })
}

/// Fields of manifests of KubeVirt and CDI whose values may be shown.
const HARMLESS_KUBEVIRT: &[&str] = &[
    "accessModes",
    "architecture",
    "autoattachGraphicsDevice",
    "bootOrder",
    "bus",
    "cache",
    "claimName",
    "contentType",
    "cores",
    "cpu",
    "dnsPolicy",
    "evictionStrategy",
    "failureThreshold",
    "finalCheckpoint",
    "guest",
    "hostname",
    "imagePullPolicy",
    "initialDelaySeconds",
    "kind",
    "macAddress",
    "memory",
    "model",
    "name",
    "namespace",
    "networkName",
    "pageSize",
    "periodSeconds",
    "port",
    "preallocation",
    "pullMethod",
    "runStrategy",
    "running",
    "scheme",
    "secureBoot",
    "serial",
    "sockets",
    "storage",
    "storageClassName",
    "successThreshold",
    "terminationGracePeriodSeconds",
    "threads",
    "timeoutSeconds",
    "type",
    "uuid",
    "volumeMode",
    "volumeName",
];
/// Their fields with names of images and files, which may be shown unless they hold a login.
const PLACES_KUBEVIRT: &[&str] = &["image", "path"];
/// Their fields with labels, whose values may be shown whatever their keys are.
const LABELS_KUBEVIRT: &[&str] = &["labels", "matchLabels"];
/// Their fields that hold a guest's configuration: nothing below them is shown, not even keys.
const SECRET_KUBEVIRT: &[&str] = &[
    "userData",
    "userDataBase64",
    "networkData",
    "networkDataBase64",
    "annotations",
];

fn is_of_kubevirt(document: &YamlNode) -> bool {
    let version = document.get("apiVersion").and_then(YamlNode::text);
    let group = version.and_then(|version| version.split('/').next());
    group.is_some_and(|group| group == "kubevirt.io" || group == "cdi.kubevirt.io")
}

/// Handles a part of a manifest of KubeVirt or CDI: its keys are shown, and the values of harmless fields.
fn of_kubevirt(key: &str, node: &YamlNode, spans: &mut Vec<(usize, usize)>) -> bool {
    if SECRET_KUBEVIRT.contains(&key) {
        return hide(node, spans);
    }
    match &node.value {
        Value::Map(_) if LABELS_KUBEVIRT.contains(&key) => true,
        Value::Text(text) if PLACES_KUBEVIRT.contains(&key) && is_plain_place(text) => true,
        Value::Map(entries) => entries
            .iter()
            .all(|entry| of_kubevirt(&entry.key, &entry.node, spans)),
        Value::List(nodes) => nodes.iter().all(|item| of_kubevirt(key, item, spans)),
        Value::Null | Value::Filler(_) | Value::Bool(_) => true,
        _ => HARMLESS_KUBEVIRT.contains(&key) || hide(node, spans),
    }
}

/// Whether the name of an image or a file has neither a login nor a query; behind an `@` may be a digest only.
fn is_plain_place(text: &str) -> bool {
    let is_digest = |behind: &str| {
        let digits = ["sha256:", "sha512:"]
            .into_iter()
            .find_map(|kind| behind.strip_prefix(kind));
        digits.is_some_and(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
    };
    let behind = text.split_once('@').map(|(_, behind)| behind);
    !text.contains(['?', '#']) && behind.is_none_or(is_digest)
}

/// Handles a part of a spec. A field that no kind has may be a misspelt secret.
fn spec(node: &YamlNode, secrecy: &Secrecy, spans: &mut Vec<(usize, usize)>) -> bool {
    match (secrecy, &node.value) {
        (Secrecy::Shown, _) => true,
        (Secrecy::Fields(fields), Value::Map(entries)) => entries.iter().all(|entry| {
            let field = fields.get(&entry.key).unwrap_or(&Secrecy::Hidden);
            spec(&entry.node, field, spans)
        }),
        (Secrecy::Items(items), Value::List(nodes)) => {
            nodes.iter().all(|item| spec(item, items, spans))
        }
        _ => hide(node, spans),
    }
}

/// Hides every field except the harmless ones.
fn hide_except(node: &YamlNode, harmless: &[&str], spans: &mut Vec<(usize, usize)>) -> bool {
    if !matches!(node.value, Value::Map(_)) {
        return hide(node, spans);
    }
    let mut fields = node.entries().iter();
    fields.all(|field| harmless.contains(&field.key.as_str()) || hide(&field.node, spans))
}

fn hide(node: &YamlNode, spans: &mut Vec<(usize, usize)>) -> bool {
    match &node.value {
        Value::List(nodes) => nodes.iter().all(|item| hide(item, spans)),
        Value::Map(entries) => entries
            .iter()
            .all(|entry| push(entry.key_at, spans) && hide(&entry.node, spans)),
        Value::Null | Value::Filler(_) => true,
        _ => push(node.at, spans) && push(node.defined, spans),
    }
}

fn push(mark: YamlMark, spans: &mut Vec<(usize, usize)>) -> bool {
    mark.bytes.map(|bytes| spans.push(bytes)).is_some()
}

/// The byte ranges to hide in a document that could not be parsed.
pub(crate) fn suspects(text: &str) -> Vec<(usize, usize)> {
    let mut spans = Vec::new();
    let (mut offset, mut seen) = (0, false);
    for line in text.split_inclusive('\n') {
        let key = key_of(line);
        let harmless = |of: &str| {
            let lists = [HARMLESS_KEYS, HARMLESS_ANYWHERE];
            lists.iter().any(|list| list.contains(&of)) || secrecy::is_shown(of)
        };
        let known = key.is_some_and(harmless);
        let touchy = !known && key.is_some() || is_touchy(line, key);
        seen |= touchy;
        if touchy || seen && !known {
            let after_key = key.filter(|_| !known).and_then(|_| line.find(':'));
            let start = after_key.map_or(0, |colon| colon + 1);
            spans.push((offset + start, offset + line.trim_end().len().max(start)));
        }
        offset += line.len();
    }
    spans
}

/// Whether a line may contain a secret apart from its first key, such as `spec: {contract: …`.
fn is_touchy(line: &str, key: Option<&str>) -> bool {
    let rest = key
        .and_then(|key| line.split_once(key))
        .map_or(line, |(_, rest)| rest);
    let rest = rest.to_ascii_lowercase();
    let named = ["contract", "key", "data", "password"]
        .iter()
        .any(|word| rest.contains(word));
    named || SECRET_WORDS.iter().any(|word| line.contains(word))
}

/// The key at the start of a line, such as `  - key: value`.
fn key_of(line: &str) -> Option<&str> {
    let line = line.trim_start().trim_start_matches("- ").trim_start();
    let (key, rest) = line.split_once(':')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let key = key.trim_matches('"');
    let ends = rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']);
    (ends && !key.is_empty() && key.chars().all(plain)).then_some(key)
}

/// A line of a text, with secrets hidden.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RedactedLine {
    /// The text.
    pub(crate) text: String,
    /// How many characters at its start are as they were written.
    pub(crate) intact: usize,
}

/// The lines of a text, with `spans` and all other possible secrets hidden.
pub(crate) fn lines(text: &str, mut spans: Vec<(usize, usize)>) -> Vec<RedactedLine> {
    // The span of a block text extends to the next token.
    for (start, end) in &mut spans {
        if let Some(hidden) = text.get(*start..*end) {
            *end = start.saturating_add(hidden.trim_end().len());
        }
    }
    spans.sort_unstable();
    let mut spans = spans.as_slice();
    let mut offset = 0;
    let mut lines = Vec::new();
    for line in text.split_inclusive('\n') {
        while let Some(((_, end), rest)) = spans.split_first() {
            if *end > offset {
                break;
            }
            spans = rest;
        }
        lines.push(redact(line.trim_end_matches(['\n', '\r']), offset, spans));
        offset += line.len();
    }
    lines
}

fn redact(line: &str, offset: usize, spans: &[(usize, usize)]) -> RedactedLine {
    let shown = without_comment(without_spans(line, offset, spans));
    if SECRET_WORDS.iter().any(|word| shown.text.contains(word)) {
        return RedactedLine {
            text: HIDDEN.to_owned(),
            intact: 0,
        };
    }
    without_credentials(shown)
}

/// Hides the spans of a line that begins at `offset`.
fn without_spans(line: &str, offset: usize, spans: &[(usize, usize)]) -> RedactedLine {
    let mut text = String::new();
    let mut intact = None;
    let mut position = 0;
    let here = spans
        .iter()
        .take_while(|(start, _)| *start < offset + line.len());
    for (start, end) in here {
        let (start, end) = (
            start.saturating_sub(offset).max(position),
            end.saturating_sub(offset),
        );
        if end <= position {
            continue;
        }
        text.push_str(line.get(position..start).unwrap_or_default());
        intact.get_or_insert_with(|| text.chars().count());
        text.push_str(HIDDEN);
        position = end.min(line.len());
    }
    text.push_str(line.get(position..).unwrap_or_default());
    RedactedLine {
        intact: intact.unwrap_or(usize::MAX),
        text: visible(&text),
    }
}

/// Hides a comment: it may be an old secret that was commented out.
fn without_comment(mut line: RedactedLine) -> RedactedLine {
    let whole = line.text.trim_start().starts_with('#').then_some(0);
    if let Some(comment) = whole.or_else(|| line.text.find(" #")) {
        line.text.truncate(comment);
        line.intact = line.intact.min(line.text.chars().count());
        line.text.push_str(" # ");
        line.text.push_str(HIDDEN);
    }
    line
}

/// Replaces control characters, with which a file could control the terminal.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c == '\t' || c.is_control() { ' ' } else { c })
        .collect()
}

/// Hides the credentials in a URL: everything between `//` and `@`.
fn without_credentials(line: RedactedLine) -> RedactedLine {
    let found = line.text.find("://").and_then(|scheme| {
        let (before, after) = line.text.split_at_checked(scheme + 3)?;
        let authority = after.find(['/', ' ', '"', '\'']).unwrap_or(after.len());
        let at = after.get(..authority)?.rfind('@')?;
        Some((before.to_owned(), after.get(at..)?.to_owned()))
    });
    match found {
        None => line,
        Some((before, after)) => RedactedLine {
            intact: line.intact.min(before.chars().count()),
            text: format!("{before}{HIDDEN}{after}"),
        },
    }
}

#[cfg(test)]
#[path = "redact_tests.rs"]
mod tests;
