//! Reads an export line by line. Exports are untrusted input, so the length of a line is limited.

use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

use super::{
    super::{AuditError, Flaw, Violation},
    line::{HeaderLine, HeaderOutline, LINE_MAX, SCHEMA, SHORT_MAX, UNUSED},
};
use crate::{
    journal::{DamageWords, JournalError},
    model::Name,
};

/// The input that an export is read from.
pub(crate) type LineInput<'a> = &'a mut (dyn AsyncBufRead + Unpin + Send);

/// The kinds of lines that may be long.
const LONG: [&str; 3] = ["blob", "secret", "state"];

/// The lines of an export; each is at most [`LINE_MAX`] bytes long.
pub(crate) struct ExportLines<'a> {
    input: LineInput<'a>,
    line: u64,
}

/// A line and its kind.
pub(crate) struct ExportLine {
    pub(crate) kind: String,
    pub(crate) text: Vec<u8>,
}

impl<'a> ExportLines<'a> {
    pub(crate) fn of(input: LineInput<'a>) -> Self {
        Self { input, line: 0 }
    }

    pub(crate) async fn header(&mut self) -> Result<HeaderLine, AuditError> {
        let text = self.text().await?.unwrap_or_default();
        self.header_of(&text)
    }

    /// The header of an export, or of the export in a backup, whose first line is skipped.
    pub(super) async fn any_header(&mut self) -> Result<HeaderLine, AuditError> {
        let text = self.text().await?.unwrap_or_default();
        let outline: Option<HeaderOutline> = serde_json::from_slice(&text).ok();
        match outline {
            Some(outline) if outline.kind == "backup" => self.header().await,
            _ => self.header_of(&text),
        }
    }

    fn header_of(&self, text: &[u8]) -> Result<HeaderLine, AuditError> {
        let outline: Option<HeaderOutline> = serde_json::from_slice(text).ok();
        match outline {
            Some(outline) if outline.kind == "header" && outline.schema > SCHEMA => {
                Err(AuditError::Newer {
                    found: outline.schema,
                    known: SCHEMA,
                })
            }
            Some(outline) if outline.kind == "header" && outline.schema != UNUSED => {
                let header: HeaderLine = parse(text).map_err(|e| self.at(e.into()))?;
                match Name::new(header.journal.as_str()) {
                    Ok(_) => Ok(header),
                    Err(_) => Err(self.wrong(Flaw::Changed, "its journal has no identity")),
                }
            }
            _ => Err(self.wrong(Flaw::Changed, "it is not the header of an export")),
        }
    }

    pub(crate) async fn next(&mut self) -> Result<Option<ExportLine>, AuditError> {
        #[derive(serde::Deserialize)]
        struct LineKind {
            kind: String,
        }
        let Some(text) = self.text().await? else {
            return Ok(None);
        };
        let LineKind { kind } = parse(&text).map_err(|e| self.at(e.into()))?;
        if text.len() > SHORT_MAX && !LONG.contains(&kind.as_str()) {
            return Err(self.wrong(Flaw::Changed, "it is longer than such a line can be"));
        }
        Ok(Some(ExportLine { kind, text }))
    }

    /// Checks that nothing follows the head.
    pub(super) async fn end(&mut self) -> Result<(), AuditError> {
        match self.next().await? {
            None => Ok(()),
            Some(_) => Err(self.wrong(Flaw::Reordered, "it is after the head")),
        }
    }

    async fn text(&mut self) -> Result<Option<Vec<u8>>, AuditError> {
        let mut text = Vec::new();
        let limit = (LINE_MAX as u64).saturating_add(1);
        let mut input = (&mut *self.input).take(limit);
        let bytes_read = input.read_until(b'\n', &mut text).await;
        bytes_read.map_err(|e| AuditError::Io {
            doing: "read",
            why: e.to_string(),
        })?;
        if text.is_empty() {
            return Ok(None);
        }
        self.line = self.line.saturating_add(1);
        match text.pop() {
            Some(b'\n') => Ok(Some(text)),
            _ if text.len() >= LINE_MAX => Err(self.wrong(Flaw::Changed, "it is too long")),
            _ => Err(self.wrong(Flaw::RolledBack, "the export was cut off in it")),
        }
    }

    pub(crate) fn wrong(&self, flaw: Flaw, what: &str) -> AuditError {
        self.at(Violation::of(flaw, what).into())
    }

    /// Adds the line number to an error.
    pub(crate) fn at(&self, error: AuditError) -> AuditError {
        let line = self.line;
        match error {
            AuditError::Violation(violation) => AuditError::Line { line, violation },
            AuditError::Journal(e @ JournalError::Conflict { .. }) => AuditError::Line {
                line,
                violation: Violation::of(Flaw::Reordered, e.to_string()),
            },
            AuditError::Journal(error) => match error.damage() {
                Some(DamageWords { place, why }) => AuditError::Line {
                    line,
                    violation: Violation::of(Flaw::Changed, format!("{place}: {why}")),
                },
                None => AuditError::Journal(error),
            },
            other => other,
        }
    }
}

pub(crate) fn parse<T: DeserializeOwned>(text: &[u8]) -> Result<T, Violation> {
    serde_json::from_slice(text)
        .map_err(|e| Violation::of(Flaw::Changed, format!("it is not a line of an export: {e}")))
}
