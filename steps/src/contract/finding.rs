//! The findings of a check of a contract, and the report that holds them.

use std::time::SystemTime;

use serde::Serialize;
use vsiflow_engine::model::Failure;

use super::{keys::Lifetime, signature};
use crate::error::{self, Code};

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The guest will refuse the contract.
    Error,
    /// The guest may refuse it, or something could not be checked.
    Warning,
}

impl Severity {
    /// The word for this severity.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// A problem in a contract. The only text of the contract that it repeats is names of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// The documented code.
    pub code: &'static str,
    /// The line of the contract, if it is known.
    pub line: Option<u64>,
    /// The top-level section it is about; empty for the contract as a whole.
    pub section: String,
    /// What is wrong.
    pub message: String,
    /// The user's next step.
    pub remedy: String,
    #[serde(skip)]
    pub(super) kind: Code,
}

impl Finding {
    /// A finding with this code, about the contract as a whole.
    pub(super) fn new(severity: Severity, code: Code, message: impl Into<String>) -> Self {
        Self {
            severity,
            code: code.code,
            line: None,
            section: String::new(),
            message: message.into(),
            remedy: code.remedy.to_owned(),
            kind: code,
        }
    }

    pub(super) fn error(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    pub(super) fn warning(code: Code, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    fn with_line(&self) -> String {
        let line = self.line.map(|line| format!(" (line {line})"));
        format!("{}{}", self.message, line.unwrap_or_default())
    }

    /// Sets the section.
    pub(super) fn of(mut self, section: &str) -> Self {
        self.section = section.to_owned();
        self
    }

    /// Sets the line.
    pub(super) fn at(mut self, line: Option<u64>) -> Self {
        self.line = line;
        self
    }

    /// Replaces the code's remedy with a more specific one.
    pub(super) fn with_remedy(mut self, remedy: &str) -> Self {
        self.remedy = remedy.to_owned();
        self
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}. {}", self.code, self.with_line(), self.remedy)
    }
}

/// A section that was found, and whether it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionSeen {
    /// Its name.
    pub name: String,
    /// Its first line.
    pub line: Option<u64>,
    /// Whether its value is an encrypted token.
    pub encrypted: bool,
}

/// The result of checking the signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureState {
    /// The contract has no signature.
    #[default]
    None,
    /// It belongs to this workload, this env and the key.
    Valid,
    /// It does not match.
    Invalid,
    /// There was no key to check it with.
    Unchecked,
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong or doubtful, errors first, by line.
    pub findings: Vec<Finding>,
    /// The sections, in the order of their names.
    pub sections: Vec<SectionSeen>,
    /// The result of checking the signature.
    pub signature: SignatureState,
    /// The lifetime of the signer's certificate, if there is one that can be read.
    pub certificate: Option<Lifetime>,
    /// The line of the signer's certificate, if the contract holds it.
    #[serde(skip)]
    pub(super) certificate_line: Option<u64>,
    /// How many errors were left out of a report that is remembered.
    #[serde(skip)]
    pub(super) errors_left_out: usize,
}

impl Report {
    /// Whether the guest would refuse the contract.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The errors, without warnings.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
    }

    /// Ok if the guest would accept the contract.
    ///
    /// # Errors
    /// The first error, with its line, and how many others there are.
    pub fn verdict(&self) -> Result<(), Failure> {
        let mut errors = self.errors();
        let Some(first) = errors.next() else {
            return Ok(());
        };
        let mut words = first.with_line();
        match errors.count().saturating_add(self.errors_left_out) {
            0 => {}
            more => words.push_str(&format!(
                "; and {more} more, which `vsiflow contract check` shows"
            )),
        }
        Err(first.kind.failure(words).with_remedy(&first.remedy))
    }

    /// The warnings. A signature that could not be checked because no key was available is not one: for
    /// an encrypted contract that is always so.
    pub fn doubts(&self) -> impl Iterator<Item = &Finding> {
        let unchecked = self.signature == SignatureState::Unchecked;
        let signature = error::CONTRACT_SIGNATURE.code;
        self.findings.iter().filter(move |finding| {
            finding.severity == Severity::Warning && !(unchecked && finding.code == signature)
        })
    }

    /// What may be remembered: at most so many errors, and so many doubts.
    pub(super) fn shortened(self, most: usize) -> Self {
        let errors_left_out = self.errors().count().saturating_sub(most);
        let findings = self.errors().take(most).chain(self.doubts().take(most));
        Self {
            findings: findings.cloned().collect(),
            errors_left_out,
            ..self
        }
    }

    /// The report with what is to be said of the certificate at this moment.
    pub fn at(mut self, now: SystemTime) -> Self {
        let finding = self
            .certificate
            .and_then(|lifetime| signature::expiry(lifetime, now));
        let line = self.certificate_line;
        self.findings
            .extend(finding.map(|finding| finding.of("env").at(line)));
        self.sorted()
    }

    pub(super) fn sorted(mut self) -> Self {
        self.findings.sort_by_key(|f| (f.severity, f.line));
        self
    }
}
