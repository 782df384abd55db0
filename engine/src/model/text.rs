//! Bounded strings, so that no event is too long for a record.

use std::fmt;

use compact_str::CompactString;
use serde::{Deserialize, Serialize};

use super::id::InvalidId;

/// Free text in an event: at most 512 bytes of UTF-8; longer text is cut between characters and
/// ends with `…`.
///
/// Control characters except line feeds are replaced by spaces, so that a hostile message cannot
/// reach a terminal through the history.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Text(String);

impl Text {
    /// The longest text an event holds, in bytes.
    pub const MAX: usize = 512;

    /// Prepares text for an event: cuts it to [`Text::MAX`] bytes and replaces control characters.
    pub fn new(text: impl AsRef<str>) -> Self {
        let clean: String = text.as_ref().chars().map(harmless).collect();
        Self(cut(clean, Self::MAX))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no text.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Fast check that cutting and cleaning would not change the text; true for almost all stored
/// texts.
fn is_plain(text: &str, max: usize) -> bool {
    text.len() <= max && text.bytes().all(|b| matches!(b, b' '..=b'~' | b'\n'))
}

fn harmless(c: char) -> char {
    if c.is_control() && c != '\n' { ' ' } else { c }
}

fn cut(text: String, max: usize) -> String {
    if text.len() <= max {
        return text;
    }
    let room = max.saturating_sub('…'.len_utf8());
    let end = text
        .char_indices()
        .map(|(at, c)| at + c.len_utf8())
        .take_while(|end| *end <= room);
    let mut short: String = text
        .get(..end.last().unwrap_or(0))
        .unwrap_or_default()
        .to_owned();
    short.push('…');
    short
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        if is_plain(&text, Self::MAX) {
            Self(text)
        } else {
            Self::new(text)
        }
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an actor in an event: at most 128 bytes, cut and cleaned like [`Text`].
///
/// It is shorter than free text, so that the longest desired state, its reason and its actor fit
/// one record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String")]
pub struct Who(String);

impl Who {
    /// The longest name, in bytes.
    pub const MAX: usize = 128;

    /// Prepares a name for an event.
    pub fn new(name: impl AsRef<str>) -> Self {
        let clean: String = name.as_ref().chars().map(harmless).collect();
        Self(cut(clean, Self::MAX))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Who {
    fn from(name: String) -> Self {
        if is_plain(&name, Self::MAX) {
            Self(name)
        } else {
            Self::new(name)
        }
    }
}

impl From<&str> for Who {
    fn from(name: &str) -> Self {
        Self::new(name)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a node, step, workflow, state or code: 1 to 64 bytes of `[A-Za-z0-9_.-]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(CompactString);

impl Name {
    /// The longest name, in bytes.
    pub const MAX: usize = 64;

    /// Checks and creates a name.
    ///
    /// # Errors
    /// When the text is empty, too long, or has any other character.
    pub fn new(name: impl Into<CompactString>) -> Result<Self, InvalidId> {
        let name = name.into();
        let fits = (1..=Self::MAX).contains(&name.len());
        let plain = name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
        if fits && plain {
            Ok(Self(name))
        } else {
            Err(InvalidId::new("name", &name))
        }
    }

    /// A name from the program itself; characters that are not allowed become `_`.
    pub fn of(name: &str) -> Self {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() || "_.-".contains(c) {
                c
            } else {
                '_'
            }
        };
        let name: CompactString = name.chars().map(plain).take(Self::MAX).collect();
        Self(if name.is_empty() {
            CompactString::const_new("_")
        } else {
            name
        })
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Name {
    type Error = InvalidId;
    fn try_from(name: String) -> Result<Self, InvalidId> {
        Self::new(name)
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0.into()
    }
}

impl TryFrom<CompactString> for Name {
    type Error = InvalidId;
    fn try_from(name: CompactString) -> Result<Self, InvalidId> {
        Self::new(name)
    }
}

impl From<Name> for CompactString {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn text_never_outgrows_its_limit_and_holds_no_escape(s in ".{0,2000}") {
            let text = Text::new(&s);
            prop_assert!(text.as_str().len() <= Text::MAX);
            prop_assert!(!text.as_str().chars().any(|c| c.is_control() && c != '\n'));
            prop_assert_eq!(Text::from(s), text);
        }

        #[test]
        fn a_name_of_anything_is_a_valid_name(s in ".{0,200}") {
            prop_assert!(Name::new(Name::of(&s).as_str()).is_ok());
        }
    }
}
