//! Checks a contract before a VSI is started with it, and encrypts and signs contracts.
//!
//! A contract is a secret: the only text of it that messages here repeat is names of its keys.

mod archive;
mod compose;
mod document;
mod encrypt;
mod finding;
mod keys;
mod plain;
mod signature;
#[cfg(test)]
mod tests;
mod token;
mod verdicts;

use std::time::SystemTime;

use serde_json::Value;
use vsiflow_engine::model::Failure;

pub use compose::{Made, PackedFile, compose};
pub use encrypt::encrypt;
pub use finding::{Finding, Report, SectionSeen, Severity, SignatureState};
pub use keys::{ContractSigningKey, Key, KeyFault, Lifetime};
pub use token::TOKEN_PREFIXES;
pub use verdicts::inspect_remembered;

use self::document::ContractDocument;
use crate::error::{self, Code};

/// The sections a guest knows; `workload` and `env` are required.
pub const SECTIONS: [&str; 4] = [
    "workload",
    "env",
    "attestationPublicKey",
    "envWorkloadSignature",
];

/// Optional input of a check.
#[derive(Clone, Debug, Default)]
pub struct CheckInputs {
    /// The signer's public key or certificate.
    pub key: Option<Key>,
    /// The current time, to check certificates; without it their validity period is not checked.
    pub now: Option<SystemTime>,
}

/// Checks a contract before a VSI is started with it. It reads no clock. The contract decides how long that takes: on a
/// runtime, see [`inspect_remembered`].
///
/// # Errors
/// A blocked failure with the first error for which the guest would refuse the contract, and its line if
/// that is known.
pub fn check(contract: &[u8]) -> Result<(), Failure> {
    inspect(contract, &CheckInputs::default()).verdict()
}

/// Reports everything that can be checked in a contract without decrypting it. The contract decides how long that takes:
/// on a runtime, see [`inspect_remembered`].
pub fn inspect(contract: &[u8], inputs: &CheckInputs) -> Report {
    let mut report = Report::default();
    match ContractDocument::read(contract) {
        Ok(document) => report_on(&document, inputs, &mut report),
        Err(finding) => report.findings.push(finding),
    }
    report.sorted()
}

fn report_on(document: &ContractDocument<'_>, inputs: &CheckInputs, report: &mut Report) {
    report.sections = document
        .names()
        .filter(|name| SECTIONS.contains(name))
        .map(|name| SectionSeen {
            name: name.to_owned(),
            line: document.line(&[name]),
            encrypted: document.is_encrypted(name),
        })
        .collect();
    let findings = &mut report.findings;
    required(document, "workload", error::CONTRACT_WORKLOAD, findings);
    required(document, "env", error::CONTRACT_ENV, findings);
    for name in SECTIONS {
        form(document, name, findings);
    }
    unknown(document, findings);
    plain::check(document, findings);
    signature::attestation_key(document, findings);
    signature::check(document, inputs.key.as_ref(), inputs.now, report);
}

fn required(
    document: &ContractDocument<'_>,
    name: &str,
    missing: Code,
    findings: &mut Vec<Finding>,
) {
    if matches!(document.get(name), None | Some(Value::Null)) {
        let words = format!("the contract has no section `{name}`");
        findings.push(
            Finding::error(missing, words)
                .of(name)
                .at(document.line(&[name])),
        );
    }
}

/// Checks that the section is non-empty text, a non-empty mapping or a whole token.
fn form(document: &ContractDocument<'_>, name: &str, findings: &mut Vec<Finding>) {
    let (code, what) = match document.get(name) {
        None | Some(Value::Null) => return,
        Some(Value::Object(map)) if !map.is_empty() && ["workload", "env"].contains(&name) => {
            return;
        }
        Some(Value::String(text)) if text.trim().is_empty() => {
            (error::CONTRACT_SECTION, "is empty".to_owned())
        }
        Some(Value::String(text)) if token::looks_encrypted(text) => match token::check(text) {
            Ok(()) => return,
            Err(fault) => (error::CONTRACT_TOKEN, fault.describe()),
        },
        Some(Value::String(_)) => return,
        Some(_) => (
            error::CONTRACT_SECTION,
            "is neither text nor a mapping with content".to_owned(),
        ),
    };
    let words = format!("the contract's section `{name}` {what}");
    findings.push(
        Finding::error(code, words)
            .of(name)
            .at(document.line(&[name])),
    );
}

fn unknown(document: &ContractDocument<'_>, findings: &mut Vec<Finding>) {
    for name in document.names().filter(|name| !SECTIONS.contains(name)) {
        let words = format!("guests know no section `{}`", plain::shown(name));
        let remedy = "Check the section's spelling; guests do not read it.";
        let finding = Finding::warning(error::CONTRACT_DOUBT, words).with_remedy(remedy);
        findings.push(finding.at(document.line(&[name])));
    }
}
