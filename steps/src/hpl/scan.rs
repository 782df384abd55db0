//! Splits console bytes into lines and finds codes and words in the lines.

use serde::{Deserialize, Serialize};

use super::{Catalogue, MessageKind};

/// Maximum length of a line in bytes; the rest of a longer line is ignored.
pub const LINE_MAX: usize = 1024;

const CODE_LEN: usize = 9;
/// The phase of the boot that every guest has.
const KERNEL: &str = "kernel";
/// Maximum number of codes per line.
const CODES_MAX: usize = 8;

/// A code, or words with a meaning, in a line of the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HplFinding {
    /// Its meaning for the boot.
    pub kind: MessageKind,
    /// The code; empty if only words matched.
    pub code: String,
    /// The line, without control characters.
    pub line: String,
}

impl HplFinding {
    /// The part of the boot that it belongs to.
    pub fn phase(&self) -> Option<&'static str> {
        let catalogue = Catalogue::get();
        let phase = match self.code.as_str() {
            "" => catalogue
                .words(&self.line)
                .map(|words| words.phase.as_str()),
            code => catalogue.phase(code),
        };
        phase.filter(|phase| !phase.is_empty())
    }

    /// Its meaning; empty if unknown.
    pub fn meaning(&self) -> &'static str {
        self.explained().0
    }

    /// What the user can do about it; empty if unknown.
    pub fn remedy(&self) -> &'static str {
        self.explained().1
    }

    fn explained(&self) -> (&'static str, &'static str) {
        let catalogue = Catalogue::get();
        let explanation = match self.code.as_str() {
            "" => {
                let words = catalogue.words(&self.line);
                words.map(|words| (words.meaning.as_str(), words.remedy.as_str()))
            }
            code => {
                let entry = catalogue.entry(code);
                entry.map(|entry| (entry.meaning.as_str(), entry.remedy.as_str()))
            }
        };
        explanation.unwrap_or_default()
    }

    /// The first finding in a stored line.
    pub fn of_line(line: &str) -> Option<Self> {
        findings(line).next()
    }

    /// All findings in a line.
    pub fn all_of_line(line: &str) -> Vec<Self> {
        findings(line).collect()
    }

    /// Whether it is a kernel panic, of any type of guest.
    pub fn is_panic(&self) -> bool {
        self.code.is_empty() && self.kind == MessageKind::Fatal && self.phase() == Some(KERNEL)
    }
}

/// Reads a console in pieces.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    line: Vec<u8>,
    last: String,
}

impl Scanner {
    /// Continues from an earlier [`Scanner::pending`].
    pub fn resume(mut pending: Vec<u8>) -> Self {
        pending.truncate(LINE_MAX);
        Self {
            line: pending,
            last: String::new(),
        }
    }

    /// The line that has not ended yet, cut to [`LINE_MAX`].
    pub fn pending(&self) -> &[u8] {
        &self.line
    }

    /// The findings so far in the line that has not ended yet.
    pub fn pending_findings(&self) -> Vec<HplFinding> {
        findings(&plain(&self.line)).collect()
    }

    /// The newest line that is not blank, whether it has ended or not.
    pub fn last_line(&self) -> String {
        match plain(&self.line).trim() {
            "" => self.last.clone(),
            pending => pending.to_owned(),
        }
    }

    /// Reads the next bytes and calls `found` for each finding in the lines that end in them.
    pub fn push(&mut self, bytes: &[u8], mut found: impl FnMut(HplFinding)) {
        self.push_lines(bytes, |line| findings(line).for_each(&mut found));
    }

    /// Reads the next bytes and calls `ended` for each line that ends in them, as plain text.
    pub fn push_lines(&mut self, bytes: &[u8], mut ended: impl FnMut(&str)) {
        let mut pieces = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).peekable();
        while let Some(piece) = pieces.next() {
            let room = LINE_MAX.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(piece.get(..room).unwrap_or(piece));
            if pieces.peek().is_some() {
                self.finish_line(&mut ended);
            }
        }
    }

    /// Ends the console: the pending text counts as a line.
    pub fn finish(&mut self, mut found: impl FnMut(HplFinding)) {
        self.finish_line(|line| findings(line).for_each(&mut found));
    }

    /// Like [`Scanner::finish`], for callers that read lines.
    pub fn finish_line(&mut self, mut ended: impl FnMut(&str)) {
        if self.line.is_empty() {
            return;
        }
        let line = plain(&self.line);
        self.line.clear();
        if line.trim().is_empty() {
            return;
        }
        ended(line.trim());
        self.last = line.trim().to_owned();
    }
}

/// The line as text, without escape sequences, control characters and characters that change its
/// direction.
pub fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                // A control sequence ends with its first letter or other final byte.
                while chars
                    .next_if(|intermediate| matches!(intermediate, ' '..='?'))
                    .is_some()
                {}
            }
            chars.next();
        } else if c == '\t' {
            out.push(' ');
        } else if !c.is_control() && !is_invisible(c) {
            out.push(c);
        }
    }
    out
}

/// Whether the character is invisible and changes how others are shown.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Cuts the text to at most `max` bytes, at a character boundary.
pub fn cut(text: &str, max: usize) -> &str {
    let mut end = max.min(text.len());
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    text.get(..end).unwrap_or_default()
}

fn findings(line: &str) -> impl Iterator<Item = HplFinding> {
    let catalogue = Catalogue::get();
    let words = catalogue
        .words(line)
        .map(|words| (words.kind, String::new()));
    let coded = line.match_indices("HPL").filter_map(|(at, _)| {
        let code = line
            .get(at..at.checked_add(CODE_LEN)?)
            .filter(|code| is_code(code))?;
        Some((catalogue.kind(code), code.to_owned()))
    });
    coded
        .take(CODES_MAX)
        .chain(words)
        .map(|(kind, code)| HplFinding {
            kind,
            code,
            line: line.trim().to_owned(),
        })
}

pub(super) fn is_code(code: &str) -> bool {
    let digits = code.get(3..8).unwrap_or_default();
    digits.bytes().all(|b| b.is_ascii_digit())
        && code.bytes().last().is_some_and(|b| b.is_ascii_uppercase())
}
