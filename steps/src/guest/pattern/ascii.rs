//! Turns the Perl classes of an expression into ASCII.

use std::iter::Peekable;
use std::str::Chars;

/// The expression with `\d`, `\s`, `\w` and `\b` for ASCII. In Unicode each of them compiles to
/// hundreds of ranges. An expression that asks for Unicode, with `(?u` or a property like `\p{L}`,
/// stays as it is.
pub(super) fn in_ascii(pattern: &str) -> String {
    let asks = ["(?u", "\\p", "\\P"];
    if asks.iter().any(|flag| pattern.contains(flag)) {
        return pattern.to_owned();
    }
    let mut ascii = String::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        ascii.push(c);
        if c == '\\'
            && let Some(class) = chars.next()
        {
            match replacement(class, &mut chars) {
                Some(plain) => {
                    ascii.pop();
                    ascii.push_str(plain);
                }
                None => ascii.push(class),
            }
        }
    }
    ascii
}

/// What stands for `\class`. `\b{start}` and the like are not classes.
fn replacement(class: char, rest: &mut Peekable<Chars<'_>>) -> Option<&'static str> {
    match class {
        'd' => Some("[0-9]"),
        'D' => Some("[^0-9]"),
        'w' => Some("[0-9A-Za-z_]"),
        'W' => Some("[^0-9A-Za-z_]"),
        's' => Some(r"[\t\n\x0b\x0c\r\x20]"),
        'S' => Some(r"[^\t\n\x0b\x0c\r\x20]"),
        'b' if rest.peek() != Some(&'{') => Some(r"(?-u:\b)"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_ascii_unless_unicode_is_asked_for() {
        for (pattern, line, matches) in [
            (r"^\d+$", "42", true),
            (r"^\d+$", "٤٢", false),
            (r"^[\d.]+$", "4.2", true),
            (r"^[^\s]+$", "a b", false),
            (r"^a\sb$", "a b", true),
            (r"(?x) ^a \s b$", "a b", true),
            (r"^\S+$", "é", true),
            (r"^\\d$", r"\d", true),
            (r"\bup\b", "is up.", true),
            (r"\b{start}up", "is up", true),
            (r"^\w+$", "é", false),
            (r"(?u)^\w+$", "é", true),
            (r"^\pL+$", "é", true),
        ] {
            let compiled = regex::Regex::new(&in_ascii(pattern)).unwrap();
            assert_eq!(compiled.is_match(line), matches, "{pattern} {line}");
        }
    }
}
