//! Makes text from outside harmless for a terminal.

use vsiflow_steps::hpl;

/// The maximum length of a displayed field, in characters.
const MAX_LEN: usize = 256;

/// The text in one line: a dot replaces control characters and characters that change how others are
/// shown, and a long text is truncated.
pub fn clean(text: &str) -> String {
    let mut chars = text.chars();
    let shown: String = chars.by_ref().take(MAX_LEN).map(harmless).collect();
    match chars.next() {
        Some(_) => format!("{shown}…"),
        None => shown,
    }
}

/// The lines of a text, with control characters replaced.
pub(crate) fn lines(text: &str) -> Vec<String> {
    let one = |line: &str| line.replace('\t', "    ").chars().map(harmless).collect();
    text.lines().map(one).collect()
}

fn harmless(c: char) -> char {
    // U+061C and U+180E are as invisible as the characters that `is_invisible` knows.
    let obeyed = c.is_control() || hpl::is_invisible(c) || ['\u{61c}', '\u{180e}'].contains(&c);
    if obeyed { '·' } else { c }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_a_dot_and_what_is_too_long_is_cut() {
        assert_eq!(
            clean("a\x1b[2J\u{9b}1m\u{202e}b\r\nc\u{2066}"),
            "a·[2J·1m·b··c·"
        );
        let long = clean(&"x".repeat(1_000_000));
        assert_eq!(long.chars().count(), MAX_LEN + 1);
        assert_eq!(lines("a\tb\n\x1b]0;x\x07"), ["a    b", "·]0;x·"]);
    }
}
