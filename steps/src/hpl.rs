//! What the guest's console means: a catalogue of its codes, and a scanner for the stream.
//!
//! The console is whatever a guest chooses to write. The scanner therefore takes any bytes in any
//! pieces, keeps at most one bounded line, and never hands out what a terminal would obey.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

/// The longest line that is looked at, in bytes; the rest of a longer one is passed over.
pub const LINE_MAX: usize = 1024;

const READY_WORDS: &str = "VSI has started successfully";
const CODE_LEN: usize = 9;

/// What a code means for the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The guest is ready.
    Ready,
    /// The boot has failed.
    Fatal,
    /// Shown to people; the boot goes on.
    Warning,
    /// Neither here nor there.
    Note,
}

/// A code of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `HPL10001I` and so on.
    pub id: String,
    /// What it means for the boot.
    pub kind: Kind,
    /// What it means in words.
    pub meaning: String,
    /// What the user can do about it.
    #[serde(default)]
    pub remedy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    prefix: String,
    phase: String,
}

#[derive(Default, Deserialize)]
struct File {
    family: Vec<Family>,
    code: Vec<Entry>,
}

/// Codes by their names, phases by the first two digits.
#[derive(Default)]
pub struct Catalogue {
    phases: BTreeMap<String, String>,
    codes: BTreeMap<String, Entry>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    // The file is part of the program and a test reads it, so an error cannot come up here; were
    // it to, every code would be unknown and shown, never a panic.
    let file: File = toml::from_str(include_str!("hpl_codes.toml")).unwrap_or_default();
    Catalogue {
        phases: file
            .family
            .into_iter()
            .map(|f| (f.prefix, f.phase))
            .collect(),
        codes: file
            .code
            .into_iter()
            .map(|entry| (entry.id.clone(), entry))
            .collect(),
    }
});

impl Catalogue {
    /// The catalogue that comes with the program.
    pub fn get() -> &'static Self {
        &CATALOGUE
    }

    /// The entry of a code.
    pub fn entry(&self, code: &str) -> Option<&Entry> {
        self.codes.get(code)
    }

    /// The part of the boot a code belongs to.
    pub fn phase(&self, code: &str) -> Option<&str> {
        self.phases.get(code.get(3..5)?).map(String::as_str)
    }

    fn kind(&self, code: &str) -> Kind {
        match self.entry(code) {
            Some(entry) => entry.kind,
            None if code.ends_with(['E', 'K']) => Kind::Warning,
            None => Kind::Note,
        }
    }
}

/// A code, or the words of success, in a line of the console.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// What it means for the boot.
    pub kind: Kind,
    /// The code; empty where the words alone say it.
    pub code: String,
    /// The line, freed of control characters.
    pub line: String,
}

impl Finding {
    /// The part of the boot it belongs to.
    pub fn phase(&self) -> Option<&'static str> {
        Catalogue::get().phase(&self.code)
    }
}

/// Reads a console, piece by piece.
#[derive(Clone, Debug, Default)]
pub struct Scanner {
    line: Vec<u8>,
}

impl Scanner {
    /// Goes on where [`Scanner::pending`] was taken.
    pub fn resume(mut pending: Vec<u8>) -> Self {
        pending.truncate(LINE_MAX);
        Self { line: pending }
    }

    /// The line that has not ended yet, cut to [`LINE_MAX`].
    pub fn pending(&self) -> &[u8] {
        &self.line
    }

    /// Takes the next bytes and calls `found` for each finding in the lines that end in them.
    pub fn push(&mut self, bytes: &[u8], mut found: impl FnMut(Finding)) {
        let mut pieces = bytes.split(|byte| matches!(byte, b'\n' | b'\r')).peekable();
        while let Some(piece) = pieces.next() {
            let room = LINE_MAX.saturating_sub(self.line.len());
            self.line
                .extend_from_slice(piece.get(..room).unwrap_or(piece));
            if pieces.peek().is_some() {
                self.finish(&mut found);
            }
        }
    }

    /// The console has ended: what is pending is a line too.
    pub fn finish(&mut self, mut found: impl FnMut(Finding)) {
        let line = std::mem::take(&mut self.line);
        findings(&plain(&line)).for_each(&mut found);
    }
}

/// The line as text, without escape sequences and control characters.
pub fn plain(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next_if_eq(&'[').is_some() {
                // A control sequence ends with its first letter or other final byte.
                while chars.next_if(|c| matches!(c, ' '..='?')).is_some() {}
            }
            chars.next();
        } else if !c.is_control() {
            out.push(c);
        } else if c == '\t' {
            out.push(' ');
        }
    }
    out
}

fn findings(line: &str) -> impl Iterator<Item = Finding> {
    let catalogue = Catalogue::get();
    let words = line
        .contains(READY_WORDS)
        .then(|| (Kind::Ready, String::new()));
    let coded = line.match_indices("HPL").filter_map(|(at, _)| {
        let code = line
            .get(at..at.checked_add(CODE_LEN)?)
            .filter(|code| is_code(code))?;
        Some((catalogue.kind(code), code.to_owned()))
    });
    coded.chain(words).map(|(kind, code)| Finding {
        kind,
        code,
        line: line.trim().to_owned(),
    })
}

fn is_code(code: &str) -> bool {
    let digits = code.get(3..8).unwrap_or_default();
    digits.bytes().all(|b| b.is_ascii_digit())
        && code.bytes().last().is_some_and(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(pieces: &[&[u8]]) -> Vec<Finding> {
        let (mut scanner, mut all) = (Scanner::default(), Vec::new());
        for piece in pieces {
            scanner.push(piece, |finding| all.push(finding));
            assert!(scanner.pending().len() <= LINE_MAX);
        }
        scanner.finish(|finding| all.push(finding));
        all
    }

    fn kinds(text: &str) -> Vec<Kind> {
        scan(&[text.as_bytes()])
            .into_iter()
            .map(|finding| finding.kind)
            .collect()
    }

    #[test]
    fn the_catalogue_can_be_read_and_fatal_codes_have_a_remedy() {
        let file: File = toml::from_str(include_str!("hpl_codes.toml")).unwrap();
        for entry in &file.code {
            assert!(is_code(&entry.id), "{entry:?}");
            assert!(Catalogue::get().phase(&entry.id).is_some(), "{entry:?}");
            assert!(
                entry.kind != Kind::Fatal || !entry.remedy.is_empty(),
                "{entry:?}"
            );
        }
    }

    #[test]
    fn the_suffix_does_not_decide() {
        assert_eq!(kinds("# HPL12005E: valid\n"), [Kind::Note]);
        assert_eq!(kinds("HPL07006E: goes on\n"), [Kind::Note]);
        assert_eq!(kinds("HPL10001I: up\n"), [Kind::Ready]);
        assert_eq!(
            kinds("x[1]: VSI has started successfully.\n"),
            [Kind::Ready]
        );
        assert_eq!(
            kinds("HPL10000E: One or more service failed\n"),
            [Kind::Fatal]
        );
        assert_eq!(kinds("HPL99999E: never heard of\n"), [Kind::Warning]);
        assert_eq!(kinds("HPL99999I and HPL1234 and HPLé\n"), [Kind::Note]);
    }

    #[test]
    fn escapes_and_binary_do_no_harm() {
        let found = scan(&[b"\x1b[31mHPL1\x1b[0m0000E\x07 \xff\xfe failed\x1b]\n"]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].kind, Kind::Fatal);
        assert!(!found[0].line.chars().any(char::is_control));
    }

    #[test]
    fn a_line_without_end_stays_bounded() {
        let mut bytes = vec![b'x'; 10 * LINE_MAX];
        bytes.extend_from_slice(b"HPL10000E\nHPL10001I\n");
        assert_eq!(scan(&[&bytes]).len(), 1);
    }

    fn console() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            Just(b"HPL10001I: up\n".to_vec()),
            Just(b"HPL77777E".to_vec()),
            Just(b"\r\n".to_vec()),
            Just(b"\x1b[1;31m".to_vec()),
            proptest::collection::vec(any::<u8>(), 0..40),
            Just(vec![b'y'; LINE_MAX]),
        ];
        proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_findings(
            bytes in console(),
            cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.push(0);
            at.push(bytes.len());
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|w| &bytes[w[0]..w[1]]).collect();
            prop_assert_eq!(scan(&pieces), scan(&[&bytes]));
        }
    }
}
