//! The catalogue of console codes: `codes.toml`, which is compiled into the program.

use std::{collections::BTreeMap, sync::LazyLock};

use serde::{Deserialize, Serialize};

/// The meaning of a line for the boot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// The guest is ready.
    Ready,
    /// The boot has failed.
    Fatal,
    /// Shown to people; the boot continues.
    Warning,
    /// Has no meaning for the boot.
    Note,
}

/// A code of the catalogue.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// `HPL10001I` and so on.
    pub id: String,
    /// Its meaning for the boot.
    pub kind: MessageKind,
    /// Its meaning in words.
    pub meaning: String,
    /// What the user can do about it.
    #[serde(default)]
    pub remedy: String,
}

/// Words that have a meaning without a code.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// Text that the line contains.
    pub has: String,
    /// Text that the line must not contain.
    #[serde(default)]
    pub unless: String,
    /// Their meaning for the boot.
    pub kind: MessageKind,
    /// The part of the boot that they belong to.
    #[serde(default)]
    pub phase: String,
    /// Their meaning in words.
    #[serde(default)]
    pub meaning: String,
    /// What the user can do about it.
    #[serde(default)]
    pub remedy: String,
}

impl Words {
    fn are_in(&self, line: &str) -> bool {
        line.contains(&self.has) && (self.unless.is_empty() || !line.contains(&self.unless))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Family {
    prefix: String,
    phase: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    family: Vec<Family>,
    pub(super) code: Vec<CatalogueEntry>,
    pub(super) words: Vec<Words>,
}

pub(super) const TEXT: &str = include_str!("codes.toml");

/// The codes by name, the phases by the codes' first two digits, and the words in their order.
#[derive(Default)]
pub struct Catalogue {
    phases: BTreeMap<String, String>,
    codes: BTreeMap<String, CatalogueEntry>,
    words: Vec<Words>,
}

static CATALOGUE: LazyLock<Catalogue> = LazyLock::new(|| {
    // A test parses the file, so an error cannot happen here. If it did, every code would be unknown and
    // shown; the program would not panic.
    let file: File = toml::from_str(TEXT).unwrap_or_default();
    let phases = file.family.into_iter().map(|f| (f.prefix, f.phase));
    let codes = file.code.into_iter().map(|entry| (entry.id.clone(), entry));
    Catalogue {
        phases: phases.collect(),
        codes: codes.collect(),
        words: file.words,
    }
});

impl Catalogue {
    /// The catalogue in this program.
    pub fn get() -> &'static Self {
        &CATALOGUE
    }

    /// The entry of a code.
    pub fn entry(&self, code: &str) -> Option<&CatalogueEntry> {
        self.codes.get(code)
    }

    /// The first entry of words that matches the line.
    pub fn words(&self, line: &str) -> Option<&Words> {
        self.words.iter().find(|words| words.are_in(line))
    }

    /// The part of the boot a code belongs to.
    pub fn phase(&self, code: &str) -> Option<&str> {
        self.phases.get(code.get(3..5)?).map(String::as_str)
    }

    /// The meaning of a code for the boot; for an unlisted code the last letter decides.
    pub(super) fn kind(&self, code: &str) -> MessageKind {
        match self.entry(code) {
            Some(entry) => entry.kind,
            None if code.ends_with(['E', 'K']) => MessageKind::Warning,
            None => MessageKind::Note,
        }
    }
}
