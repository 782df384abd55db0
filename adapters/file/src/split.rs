//! Splits a text into its YAML documents.
//!
//! YAML forbids lines that begin with `---` or `...` inside a document, including in block texts, so
//! splitting there is exact. Each document is then parsed separately, and a mistake in one does not hide
//! mistakes in the next.

use std::borrow::Cow;

/// The byte order mark.
const MARK: char = '\u{feff}';

/// One document of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// Its text, including the `---` before it.
    pub(crate) text: &'a str,
    /// How many lines precede it.
    pub(crate) lines_before: usize,
    /// How many bytes precede it.
    pub(crate) bytes_before: usize,
}

/// The text without byte order marks at the beginning of a document, where YAML permits them: programs that
/// join files leave them there.
pub(crate) fn without_marks(text: &str) -> Cow<'_, str> {
    if !text.contains(MARK) {
        return Cow::Borrowed(text);
    }
    let mut at_start = true;
    let mut cleaned = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let bare = line.trim_start_matches(MARK);
        let is_marker = is_marker(bare, "---") || is_marker(bare, "...");
        cleaned.push_str(if at_start || is_marker { bare } else { line });
        at_start = is_marker || at_start && !has_content(bare);
    }
    Cow::Owned(cleaned)
}

/// The documents of a text, without the empty ones.
pub(crate) fn split(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let mut start = DocumentStart::default();
    let mut offset = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let end = offset + line.len();
        if is_marker(line, "---") {
            start.cut(text, offset, &mut chunks);
            start = DocumentStart {
                line: number,
                byte: offset,
            };
        } else if is_marker(line, "...") {
            start.cut(text, offset, &mut chunks);
            start = DocumentStart {
                line: number + 1,
                byte: end,
            };
        }
        offset = end;
    }
    start.cut(text, offset, &mut chunks);
    chunks
}

/// The position where a document begins.
#[derive(Clone, Copy, Default)]
struct DocumentStart {
    line: usize,
    byte: usize,
}

impl DocumentStart {
    fn cut<'a>(self, text: &'a str, end: usize, chunks: &mut Vec<Chunk<'a>>) {
        let Some(text) = text.get(self.byte..end) else {
            return;
        };
        if text.lines().any(has_content) {
            chunks.push(Chunk {
                text,
                lines_before: self.line,
                bytes_before: self.byte,
            });
        }
    }
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// Whether a line is more than a comment, a directive or a document marker.
fn has_content(line: &str) -> bool {
    let line = if is_marker(line, "---") {
        line.trim_start_matches('-')
    } else {
        line
    };
    let line = line.trim();
    !(line.is_empty() || line.starts_with('#') || line.starts_with('%'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(text: &str) -> Vec<(&str, usize)> {
        split(text)
            .into_iter()
            .map(|chunk| (chunk.text, chunk.lines_before))
            .collect()
    }

    #[test]
    fn marks_of_byte_order_are_removed_where_a_document_begins_and_nowhere_else() {
        for (text, cleaned) in [
            ("a: 1\n", "a: 1\n"),
            ("\u{feff}a: 1\n", "a: 1\n"),
            ("\u{feff}# note\n\n\u{feff}a: 1\n", "# note\n\na: 1\n"),
            ("a: 1\n---\n\u{feff}b: 2\n", "a: 1\n---\nb: 2\n"),
            ("a: 1\n\u{feff}---\nb: 2\n", "a: 1\n---\nb: 2\n"),
            ("a: 1\n...\n\u{feff}\u{feff}b: 2\n", "a: 1\n...\nb: 2\n"),
            (
                "a: |\n  x\n\u{feff}b: \u{feff}\n",
                "a: |\n  x\n\u{feff}b: \u{feff}\n",
            ),
        ] {
            assert_eq!(without_marks(text), cleaned, "{text:?}");
        }
    }

    #[test]
    fn documents_are_cut_at_their_marks() {
        assert_eq!(
            texts("a: 1\n---\nb: 2\n"),
            [("a: 1\n", 0), ("---\nb: 2\n", 1)]
        );
        assert_eq!(texts("a: 1\n...\nb: 2"), [("a: 1\n", 0), ("b: 2", 2)]);
        assert_eq!(texts("--- {a: 1}\r\n---\r\n"), [("--- {a: 1}\r\n", 0)]);
    }

    #[test]
    fn documents_without_content_are_left_out() {
        for empty in [
            "",
            "---",
            "---\n---\n",
            "# only\n",
            "%YAML 1.2\n---\n# x\n...\n",
            "\n\n",
        ] {
            assert!(texts(empty).is_empty(), "{empty:?}");
        }
    }

    #[test]
    fn what_only_looks_like_a_mark_stays_inside() {
        let text = "KEY: |\n  -----BEGIN RSA PRIVATE KEY-----\n  ...\ncontract: ...\n----\n";
        assert_eq!(texts(text), [(text, 0)]);
    }
}
