//! Bounds what large classes cost before an expression is compiled.
//!
//! The limit on the compiled size applies after classes were translated. If case is ignored, each one is compared with
//! the cases of all characters that it holds, up to a million; in Unicode each property has hundreds of ranges.

/// The most classes of an expression that asks for Unicode or ignores case.
pub(super) const MOST: usize = 16;

/// Whether an expression has too many classes to be translated.
pub(super) fn cost_too_much(pattern: &str) -> bool {
    let (mut classes, mut is_large) = (0_usize, false);
    let mut rest = pattern;
    while let Some(c) = rest.chars().next() {
        let following = rest.get(c.len_utf8()..).unwrap_or_default();
        let mut step = c.len_utf8();
        match c {
            '\\' => {
                let class = following.chars().next();
                step = step.saturating_add(class.map_or(0, char::len_utf8));
                is_large |= matches!(class, Some('p' | 'P'));
                let is_class = matches!(class, Some('p' | 'P' | 'd' | 'D' | 's' | 'S' | 'w' | 'W'));
                classes = classes.saturating_add(usize::from(is_class));
            }
            '[' => classes = classes.saturating_add(1),
            // Operations on classes, each of which is compared again.
            '&' | '-' | '~' if following.starts_with(c) => classes = classes.saturating_add(1),
            '(' if following.starts_with('?') => {
                let mut flags = following
                    .chars()
                    .skip(1)
                    .take_while(|flag| flag.is_ascii_alphabetic() || *flag == '-');
                is_large |= flags.any(|flag| matches!(flag, 'i' | 'u'));
            }
            _ => {}
        }
        rest = rest.get(step..).unwrap_or_default();
    }
    is_large && classes > MOST
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_count_only_where_they_may_be_large() {
        let many = "[a-z]".repeat(MOST + 1);
        assert!(!cost_too_much(&many));
        assert!(!cost_too_much(&format!("(?i){}", "[a-z]".repeat(MOST))));
        assert!(!cost_too_much(&format!("(?i){}", r"\[".repeat(100))));
        assert!(!cost_too_much(&format!("(?P<i>a){many}")));
        for large in ["(?i)", "(?u)", "(?s-xi:a)", r"\p{L}", r"(?x)\PN"] {
            assert!(cost_too_much(&format!("{large}{many}")), "{large}");
        }
        assert!(cost_too_much(&format!("(?i)[a{}]", "&&a".repeat(MOST))));
    }
}
