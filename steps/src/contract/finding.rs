//! What a check of a contract says.

use serde::Serialize;
use vsiflow_engine::model::Failure;

use super::keys::Lifetime;
use crate::error::{self, Code};

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The guest will refuse the contract.
    Error,
    /// The guest may refuse it, or something could not be checked.
    Warning,
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One thing found in a contract. It repeats nothing of the contract but names of keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it weighs.
    pub severity: Severity,
    /// The documented code.
    pub code: &'static str,
    /// The line of the contract, where it is known.
    pub line: Option<u64>,
    /// The top-level section it is about; empty for the contract as a whole.
    pub section: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    #[serde(skip)]
    pub(super) kind: Code,
}

impl Finding {
    /// A finding of that code, about the contract as a whole.
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

    /// The same, about this section.
    pub(super) fn of(mut self, section: &str) -> Self {
        self.section = section.to_owned();
        self
    }

    /// The same, at this line.
    pub(super) fn at(mut self, line: Option<u64>) -> Self {
        self.line = line;
        self
    }

    /// The same, with something more fitting to do about it.
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

/// A section, and whether it is encrypted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SectionSeen {
    /// Its name.
    pub name: String,
    /// The line it begins at.
    pub line: Option<u64>,
    /// Whether its value is an encrypted token.
    pub encrypted: bool,
}

/// What became of the signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SignatureState {
    /// There is none.
    #[default]
    None,
    /// It belongs to this workload, this env and the key.
    Valid,
    /// It does not.
    Invalid,
    /// There was no key to check it with.
    Unchecked,
}

/// Everything a check found out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// What is wrong or doubtful, errors first, by line.
    pub findings: Vec<Finding>,
    /// The sections, in the order of their names.
    pub sections: Vec<SectionSeen>,
    /// What became of the signature.
    pub signature: SignatureState,
    /// How long the signer's certificate lasts, where it has one that can be read.
    pub certificate: Option<Lifetime>,
}

impl Report {
    /// Whether the guest would not take the contract.
    pub fn has_errors(&self) -> bool {
        self.errors().next().is_some()
    }

    /// The errors alone.
    pub fn errors(&self) -> impl Iterator<Item = &Finding> {
        self.findings
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
    }

    /// Whether the guest would take the contract.
    ///
    /// # Errors
    /// The first error, with its line, and how many others there are.
    pub fn verdict(&self) -> Result<(), Failure> {
        let mut errors = self.errors();
        let Some(first) = errors.next() else {
            return Ok(());
        };
        let mut words = first.with_line();
        match errors.count() {
            0 => {}
            more => words.push_str(&format!(
                "; and {more} more, which `vsiflow contract check` shows"
            )),
        }
        Err(first.kind.failure(words).with_remedy(&first.remedy))
    }

    /// What the guest may refuse. That nobody had a key to check the signature with is none: of an
    /// encrypted contract that is always so.
    pub fn doubts(&self) -> impl Iterator<Item = &Finding> {
        let unchecked = self.signature == SignatureState::Unchecked;
        let signature = error::CONTRACT_SIGNATURE.code;
        self.findings.iter().filter(move |finding| {
            finding.severity == Severity::Warning && !(unchecked && finding.code == signature)
        })
    }

    pub(super) fn sorted(mut self) -> Self {
        self.findings.sort_by_key(|f| (f.severity, f.line));
        self
    }
}
