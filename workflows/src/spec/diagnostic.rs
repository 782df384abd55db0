//! Diagnostics: errors and warnings about documents, as text for people and as JSON for programs.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ProblemCode;

/// How bad a diagnostic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DiagnosticSeverity {
    /// No document is applied.
    Error,
    /// It is reported, and the rest is applied.
    Warning,
}

/// An error or a warning about a file. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// Error or warning.
    pub severity: DiagnosticSeverity,
    /// The error code, `VSI0601` to `VSI0610`.
    pub code: String,
    /// The file as the user named it; `standard input` for `-`.
    pub file: String,
    /// The line number, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// The document's kind and name, as far as they are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The field's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The line that the diagnostic is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippet: Option<Snippet>,
}

/// A line of a file, with secrets replaced by `<hidden>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Snippet {
    /// The line's text.
    pub text: String,
    /// How many characters precede the part that the diagnostic is about.
    pub start: usize,
    /// The length of that part in characters; 0 if it cannot be shown.
    pub length: usize,
}

impl Diagnostic {
    /// An error about a file as a whole.
    pub fn of_file(
        file: &str,
        code: ProblemCode,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            severity: DiagnosticSeverity::Error,
            code: code.as_str().to_owned(),
            file: file.to_owned(),
            line: None,
            column: None,
            object: None,
            field: None,
            message: message.into(),
            remedy: remedy.into(),
            snippet: None,
        }
    }
}

impl fmt::Display for Diagnostic {
    /// Writes several lines of plain text, without a line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            DiagnosticSeverity::Error => "error",
            DiagnosticSeverity::Warning => "warning",
        };
        writeln!(f, "{severity}[{}]: {}", self.code, self.message)?;
        write!(f, "  --> {}", self.file)?;
        for number in [self.line, self.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        match (&self.field, &self.object) {
            (Some(field), Some(object)) => writeln!(f, " ({field} of {object})")?,
            (Some(one), None) | (None, Some(one)) => writeln!(f, " ({one})")?,
            (None, None) => writeln!(f)?,
        }
        if let (Some(line), Some(snippet)) = (self.line, &self.snippet) {
            let number = line.to_string();
            let margin = " ".repeat(number.len());
            writeln!(f, " {margin} |\n {number} | {}", snippet.text)?;
            let caret = "^".repeat(snippet.length);
            let below = format!(" {margin} | {}{caret}", " ".repeat(snippet.start));
            writeln!(f, "{}", below.trim_end())?;
        }
        write!(f, "  = {}", self.remedy)
    }
}

/// All errors and warnings, in the order of the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// The number of errors.
    pub fn errors(&self) -> usize {
        self.0
            .iter()
            .filter(|diagnostic| diagnostic.severity == DiagnosticSeverity::Error)
            .count()
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&all.join("\n\n"))
    }
}

impl std::error::Error for Diagnostics {}
