//! Wraps text to the width of a terminal.

/// Wraps the text to lines of at most `width` columns, between words. `first` is the prefix of the
/// first line and `rest` of the others. A word longer than a line remains whole, so that it can be
/// copied. Without a width the text is one line.
pub(crate) fn wrapped(text: &str, width: Option<usize>, first: &str, rest: &str) -> Vec<String> {
    let Some(width) = width else {
        return vec![format!("{first}{}", text.replace('\n', " "))];
    };
    let mut lines = Vec::new();
    let mut line = first.to_owned();
    let mut empty = true;
    for word in text.split_whitespace() {
        let needed = line.chars().count().saturating_add(word.chars().count());
        if !empty && needed >= width {
            lines.push(std::mem::replace(&mut line, rest.to_owned()));
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    lines.push(line);
    lines
}

/// The columns of the terminal at standard output; `None` if it is not a terminal. `COLUMNS` takes
/// precedence, as in other tools.
pub(crate) fn terminal_width() -> Option<usize> {
    use std::io::IsTerminal as _;
    if super::sink::is_for_caller() || !std::io::stdout().is_terminal() {
        return None;
    }
    let set = std::env::var("COLUMNS").ok();
    let set = set.and_then(|columns| columns.parse().ok());
    set.or_else(|| {
        let size = rustix::termios::tcgetwinsize(std::io::stdout()).ok()?;
        Some(usize::from(size.ws_col)).filter(|columns| *columns > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_long_words_stay_whole() {
        let text = "one two three http://a.long/address four";
        assert_eq!(
            wrapped(text, Some(14), "- ", "  "),
            ["- one two", "  three", "  http://a.long/address", "  four"]
        );
        assert_eq!(wrapped("a\nb", None, "- ", "  "), ["- a b"]);
    }
}
