//! From bytes to lines, and from lines to what they mean.

use serde::{Deserialize, Serialize};

use super::{Catalogue, MessageKind};

/// The longest line that is looked at, in bytes; the rest of a longer one is passed over.
pub const LINE_MAX: usize = 1024;

const CODE_LEN: usize = 9;
/// The part of the boot that every guest has.
const KERNEL: &str = "kernel";
/// The most codes of one line that count.
const CODES_MAX: usize = 8;

/// A code, or words that mean something, in a line of the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HplFinding {
    /// What it means for the boot.
    pub kind: MessageKind,
    /// The code; empty where the words alone say it.
    pub code: String,
    /// The line, freed of control characters.
    pub line: String,
}

impl HplFinding {
    /// The part of the boot it belongs to.
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

    /// What it means; empty where that is not known.
    pub fn meaning(&self) -> &'static str {
        self.explained().0
    }

    /// What the user can do about it; empty where that is not known.
    pub fn remedy(&self) -> &'static str {
        self.explained().1
    }

    fn explained(&self) -> (&'static str, &'static str) {
        let catalogue = Catalogue::get();
        let known = match self.code.as_str() {
            "" => {
                let words = catalogue.words(&self.line);
                words.map(|words| (words.meaning.as_str(), words.remedy.as_str()))
            }
            code => {
                let entry = catalogue.entry(code);
                entry.map(|entry| (entry.meaning.as_str(), entry.remedy.as_str()))
            }
        };
        known.unwrap_or_default()
    }

    /// What a line that was kept means.
    pub fn of_line(line: &str) -> Option<Self> {
        findings(line).next()
    }

    /// All that a line means.
    pub fn all_of_line(line: &str) -> Vec<Self> {
        findings(line).collect()
    }

    /// The end of any guest's kernel.
    pub fn is_panic(&self) -> bool {
        self.code.is_empty() && self.kind == MessageKind::Fatal && self.phase() == Some(KERNEL)
    }
}

/// Reads a console, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    line: Vec<u8>,
    last: String,
}

impl Scanner {
    /// Continues where [`Scanner::pending`] was taken.
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

    /// What the line that has not ended yet means so far.
    pub fn pending_findings(&self) -> Vec<HplFinding> {
        findings(&plain(&self.line)).collect()
    }

    /// The newest line with anything in it, whether it has ended or not.
    pub fn last_line(&self) -> String {
        match plain(&self.line).trim() {
            "" => self.last.clone(),
            pending => pending.to_owned(),
        }
    }

    /// Takes the next bytes and calls `found` for each finding in the lines that end in them.
    pub fn push(&mut self, bytes: &[u8], mut found: impl FnMut(HplFinding)) {
        self.push_lines(bytes, |line| findings(line).for_each(&mut found));
    }

    /// Takes the next bytes and calls `ended` for each line that ends in them, as plain text.
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

    /// The console has ended: what is pending is a line too.
    pub fn finish(&mut self, mut found: impl FnMut(HplFinding)) {
        self.finish_line(|line| findings(line).for_each(&mut found));
    }

    /// The same, for whoever reads lines.
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

/// The line as text, without escape sequences, control characters and what turns text around.
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

/// Characters that show nothing and change how others are shown.
pub fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// The text, cut to at most `max` bytes at a character.
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
