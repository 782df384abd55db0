//! Text that comes from a host: names, paths, definitions, messages.
//!
//! On a host, names are bytes. Here they are strings that keep every byte, because they are used as keys: a
//! byte that is not part of UTF-8 becomes a character of a range that nobody else uses, and becomes that
//! byte again on its way to the host. People are shown the byte as `\xe9`.

use std::borrow::Cow;

use crate::hpl::is_invisible;

/// The characters that represent bytes: this number plus the byte. They are for private use, at the end of
/// Unicode.
const STAND_INS: u32 = 0x0010_FE00;

/// The text of these bytes. [`bytes()`] returns the same bytes again, whatever they are.
pub fn read(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes)
        && !text.contains(is_stand_in)
    {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if is_stand_in(c) {
                // A host's own text may contain the character. It is then four bytes as any others.
                text.extend(c.encode_utf8(&mut [0; 4]).bytes().map(stand_in));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    Cow::Owned(text)
}

/// The bytes that a host has for this text.
pub fn bytes(text: &str) -> Cow<'_, [u8]> {
    if !text.contains(is_stand_in) {
        return Cow::Borrowed(text.as_bytes());
    }
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Cow::Owned(bytes)
}

/// A name for people, on one line: bytes that are not text, control characters and invisible characters are
/// escaped.
pub fn shown(name: &str) -> Cow<'_, str> {
    escaped(name, is_escaped)
}

/// Whether [`shown`] escapes the character.
pub fn is_escaped(c: char) -> bool {
    c.is_control() || is_odd(c)
}

/// Like [`shown`], for a text that may have several lines.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    escaped(text, |c| {
        c.is_control() && !['\n', '\t'].contains(&c) || is_odd(c)
    })
}

/// Whether the name has a character that libvirt leaves out of its definitions.
pub fn has_control(name: &str) -> bool {
    name.contains(|c: char| c.is_ascii_control())
}

fn escaped(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => escaped.push_str(&format!("\\x{byte:02x}")),
            None if is_escaped(c) => escaped.extend(c.escape_default()),
            None => escaped.push(c),
        }
    }
    Cow::Owned(escaped)
}

fn is_odd(c: char) -> bool {
    is_invisible(c) || is_stand_in(c)
}

fn is_stand_in(c: char) -> bool {
    byte_of(c).is_some()
}

/// The byte that the character represents. An ASCII byte is always text, so it has none.
fn byte_of(c: char) -> Option<u8> {
    let byte = u32::from(c).checked_sub(STAND_INS)?;
    u8::try_from(byte).ok().filter(|byte| !byte.is_ascii())
}

fn stand_in(byte: u8) -> char {
    char::from_u32(STAND_INS | u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_shown_on_one_line_and_bytes_as_bytes() {
        assert_eq!(shown(&read(b"caf\xe9.qcow2")), "caf\\xe9.qcow2");
        assert_eq!(shown("caf\u{e9} \u{4f60}"), "caf\u{e9} \u{4f60}");
        assert_eq!(shown("a\nb\x1b[2J"), "a\\nb\\u{1b}[2J");
        assert_eq!(shown("a\u{202e}b"), "a\\u{202e}b");
        assert_eq!(shown_lines("a\nb\x1b"), "a\nb\\u{1b}");
    }

    proptest! {
        #[test]
        fn every_byte_string_is_a_text_and_the_same_bytes_again(
            odd in proptest::collection::vec(any::<u8>(), 0..40),
            text in "[a\u{e9}\u{10fe80}\u{10feff}\u{10ffff}]{0,6}",
        ) {
            for name in [&odd[..], text.as_bytes(), &[&odd, text.as_bytes(), &odd].concat()] {
                let read = read(name);
                prop_assert_eq!(&*bytes(&read), name);
                let shown = shown(&read);
                prop_assert!(!shown.contains(|c: char| c.is_control() || is_stand_in(c)));
            }
        }

        #[test]
        fn different_names_are_different_texts(
            one in proptest::collection::vec(any::<u8>(), 0..4),
            other in proptest::collection::vec(any::<u8>(), 0..4),
        ) {
            prop_assert_eq!(read(&one) == read(&other), one == other);
        }
    }
}
