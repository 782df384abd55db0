//! Checks the sections that are not encrypted.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{
    archive,
    document::{ContractDocument, Plain},
    finding::{Finding, Severity},
    token,
};
use crate::error;

/// Checks `workload` and `env`, as far as they are not encrypted.
pub(super) fn check(document: &ContractDocument<'_>, findings: &mut Vec<Finding>) {
    for section in plain_sections(document) {
        form(document, section, findings);
    }
    if let Plain::Mapping(workload) = document.workload() {
        containers(document, workload, findings);
    }
    volumes(document, findings);
    variables(document, findings);
}

/// A section that need not be encrypted.
#[derive(Clone, Copy)]
struct PlainSection<'a> {
    name: &'static str,
    content: &'a Plain,
}

fn plain_sections<'a>(document: &'a ContractDocument<'_>) -> [PlainSection<'a>; 2] {
    [
        PlainSection {
            name: "workload",
            content: document.workload(),
        },
        PlainSection {
            name: "env",
            content: document.env(),
        },
    ]
}

/// Checks that a section is text that describes a mapping whose `type` is the section's name.
fn form(document: &ContractDocument<'_>, plain: PlainSection<'_>, findings: &mut Vec<Finding>) {
    let section = plain.name;
    if let Plain::Broken(line) = plain.content {
        let words = format!("the contract's section `{section}` is plain text that is not YAML");
        let finding = Finding::error(error::CONTRACT_SECTION, words).of(section);
        let remedy = "Correct the section's YAML at that line, or encrypt the section.";
        findings.push(finding.at(*line).with_remedy(remedy));
        return;
    }
    let mut doubt = |words: &str, remedy: &str| {
        let finding = Finding::warning(error::CONTRACT_DOUBT, words).of(section);
        findings.push(finding.at(document.line(&[section])).with_remedy(remedy));
    };
    if document.get(section).is_some_and(Value::is_object) {
        doubt(
            &format!("`{section}` is a mapping; guests expect it as text"),
            "Put a `|` behind the section's name, so that it becomes a block of text.",
        );
    }
    match plain.content {
        Plain::Other => doubt(
            &format!("`{section}` is plain text that is not a YAML mapping"),
            "Write the section's keys in YAML, or encrypt it.",
        ),
        Plain::Mapping(map) if map.get("type").and_then(Value::as_str) != Some(section) => doubt(
            &format!("`{section}` does not say `type: {section}`"),
            "Add that line to the section.",
        ),
        _ => {}
    }
}

/// Checks that the workload describes its containers in exactly one way.
fn containers(
    document: &ContractDocument<'_>,
    workload: &Map<String, Value>,
    findings: &mut Vec<Finding>,
) {
    const WAYS: [&str; 3] = ["compose", "play", "confidential-containers"];
    let ways: Vec<&str> = WAYS
        .into_iter()
        .filter(|way| workload.contains_key(*way))
        .collect();
    if ways.len() != 1 {
        let finding = Finding::warning(
            error::CONTRACT_DOUBT,
            "`workload` has none, or more than one, of `compose`, `play` and `confidential-containers`",
        );
        let remedy = "Describe the containers in exactly one of these ways.";
        let line = document.line(&["workload"]);
        findings.push(finding.of("workload").at(line).with_remedy(remedy));
    }
    for (way, kind) in [
        ("compose", archive::EntryKind::Compose),
        ("play", archive::EntryKind::Play),
    ] {
        let Some(part) = workload.get(way) else {
            continue;
        };
        match part.get("archive").and_then(Value::as_str) {
            Some(text) => archive(document, way, text, kind, findings),
            None if way == "compose" => {
                let words = "`compose` has no `archive`";
                let line = document.line(&["workload", way]);
                let finding = Finding::error(error::CONTRACT_ARCHIVE, words);
                findings.push(finding.of("workload").at(line));
            }
            None => {}
        }
    }
}

fn archive(
    document: &ContractDocument<'_>,
    way: &str,
    text: &str,
    kind: archive::EntryKind,
    findings: &mut Vec<Finding>,
) {
    let line = document.line(&["workload", way, "archive"]);
    if token::looks_encrypted(text) {
        if let Err(fault) = token::check(text) {
            let words = format!("the archive of `{way}` {}", fault.describe());
            let finding = Finding::error(error::CONTRACT_TOKEN, words);
            findings.push(finding.of("workload").at(line));
        }
        return;
    }
    for fault in archive::check(text, kind) {
        let severity = if fault.fatal {
            Severity::Error
        } else {
            Severity::Warning
        };
        let words = format!("the archive of `{way}` {}", fault.what);
        let finding = Finding::new(severity, error::CONTRACT_ARCHIVE, words);
        findings.push(finding.of("workload").at(line));
    }
}

/// Checks the volumes. A data disk is encrypted by a seed from each section: both must name it.
fn volumes(document: &ContractDocument<'_>, findings: &mut Vec<Finding>) {
    for PlainSection {
        name: section,
        content,
    } in plain_sections(document)
    {
        let Some(volumes) = content.mapping().and_then(|map| map.get("volumes")) else {
            continue;
        };
        let Value::Object(volumes) = volumes else {
            let finding = Finding::error(
                error::CONTRACT_VOLUME,
                "`volumes` is not a mapping of names",
            );
            findings.push(finding.of(section).at(document.line(&[section, "volumes"])));
            continue;
        };
        for (name, volume) in volumes {
            let shown_name = shown(name);
            let line = document.line(&[section, "volumes", name]);
            let words = volume_faults(section, name, volume);
            findings.extend(words.into_iter().map(|(severity, words)| {
                let words = format!("the volume `{shown_name}` {words}");
                Finding::new(severity, error::CONTRACT_VOLUME, words)
                    .of(section)
                    .at(line)
            }));
        }
    }
    let sides = [document.workload().mapping(), document.env().mapping()];
    if let [Some(workload), Some(env)] = sides {
        for (section, here, there) in [("workload", workload, env), ("env", env, workload)] {
            let other_section = if section == "workload" {
                "env"
            } else {
                "workload"
            };
            for name in names(here).difference(&names(there)) {
                let words = format!(
                    "the volume `{}` is in `{section}` and not in `{other_section}`: both contribute a part of its key",
                    shown(name)
                );
                let line = document.line(&[section, "volumes", name]);
                let finding = Finding::error(error::CONTRACT_VOLUME, words);
                findings.push(finding.of(section).at(line));
            }
        }
    }
}

fn names(section: &Map<String, Value>) -> BTreeSet<&str> {
    let volumes = section.get("volumes").and_then(Value::as_object);
    volumes
        .into_iter()
        .flat_map(Map::keys)
        .map(String::as_str)
        .collect()
}

fn volume_faults(section: &str, name: &str, volume: &Value) -> Vec<(Severity, &'static str)> {
    let mut faults = Vec::new();
    if !is_plain_name(name) {
        faults.push((
            Severity::Warning,
            "has other characters in its name than letters, digits, `-`, `_` and `.`",
        ));
    }
    let seed = volume.get("seed");
    if seed.is_none_or(|seed| seed.as_str() == Some("")) {
        faults.push((Severity::Error, "has no `seed`"));
    }
    if section == "workload" {
        let mount = volume.get("mount").and_then(Value::as_str);
        if !mount.is_some_and(|path| path.starts_with('/')) {
            faults.push((Severity::Warning, "has no `mount` with an absolute path"));
        }
    }
    faults
}

/// Checks that variables have names that a shell accepts, and text for values.
fn variables(document: &ContractDocument<'_>, findings: &mut Vec<Finding>) {
    for PlainSection {
        name: section,
        content,
    } in plain_sections(document)
    {
        let variables = content.mapping().and_then(|map| map.get("env"));
        for (name, value) in variables.and_then(Value::as_object).into_iter().flatten() {
            let words = match (is_variable(name), value.is_string()) {
                (true, true) => continue,
                (true, false) => "has a value that is not text",
                (false, _) => "has a name that no environment accepts",
            };
            let words = format!("the variable `{}` {words}", shown(name));
            let finding = Finding::warning(error::CONTRACT_DOUBT, words).of(section);
            let remedy = "Put the value into quotes, and use letters, digits and `_` for the name.";
            let line = document.line(&[section, "env", name]);
            findings.push(finding.at(line).with_remedy(remedy));
        }
    }
}

fn is_variable(name: &str) -> bool {
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_plain_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(plain)
}

/// A key's name as messages may show it; `?` for an unusual one.
pub(super) fn shown(name: &str) -> &str {
    if is_plain_name(name) { name } else { "?" }
}
