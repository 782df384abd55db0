//! Compiles the regular expressions with which users match the lines of a console, and matches them. It is
//! the one room for that: nothing else in the workspace compiles an expression of a user.
//!
//! The `regex` crate matches in time linear in the line, but the factor grows with the compiled size. So
//! that size is limited, lines are matched in pieces on threads for blocking work, and each guest has a
//! budget of processor time ([`MatchBudget`]).

mod ascii;
mod budget;
mod classes;

use std::sync::Arc;

use regex::{Regex, RegexBuilder};

pub use budget::MatchBudget;
use budget::PIECE;

use crate::verdicts::{VERDICTS_MAX, Verdicts};

/// Maximum length of an expression, in bytes.
pub const PATTERN_MAX: usize = 1024;
/// Maximum compiled size of an expression, in bytes.
const COMPILED_MAX: usize = 64 * 1024;
/// The same, for an expression that an earlier version accepted.
const COMPILED_BEFORE_MAX: usize = 256 * 1024;
const CACHE_MAX: usize = 1024 * 1024;
const NESTED_MAX: u32 = 50;
/// What is said of an expression that has used up its budget.
pub const USED_UP: &str = "the expression needs too much processor time";

static VERDICTS: Verdicts<Result<(), String>> = Verdicts::new(VERDICTS_MAX);

/// Whether an expression of a document can be used. The answer is remembered.
///
/// # Errors
/// Those of [`compile`].
pub fn check(pattern: &str) -> Result<(), String> {
    VERDICTS.of(pattern.as_bytes(), || compile(pattern).map(drop))
}

/// Whether [`check`] returns at once, because it was called with the same expression.
pub fn is_checked(pattern: &str) -> bool {
    VERDICTS.get(pattern.as_bytes()).is_some()
}

/// A compiled expression. It can only be matched with a [`MatchBudget`].
#[derive(Clone, Debug)]
pub struct LinePattern(Regex);

/// Compiles an expression of a document. `\d`, `\s`, `\w` and `\b` are those of ASCII, unless the
/// expression asks for Unicode.
///
/// # Errors
/// Why it cannot be used, in words for the user.
pub fn compile(pattern: &str) -> Result<LinePattern, String> {
    if pattern.is_empty() {
        return Err("the expression is empty, and would match any line".to_owned());
    }
    if pattern.len() > PATTERN_MAX {
        return Err(format!("the expression is longer than {PATTERN_MAX} bytes"));
    }
    if classes::cost_too_much(pattern) {
        return Err(format!(
            "the expression has more than {} classes, and asks for Unicode or ignores case",
            classes::MOST
        ));
    }
    match build(&ascii::in_ascii(pattern), COMPILED_MAX) {
        Ok(regex) => Ok(LinePattern(regex)),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err("the expression repeats so much that it compiles to too large a program".to_owned())
        }
        Err(error) => {
            // The crate's error shows the position over several lines; the last line says what is wrong.
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default();
            let reason = last.trim_start_matches("error: ");
            Err(format!("the expression does not compile: {reason}"))
        }
    }
}

/// Compiles an expression that was recorded. One that an earlier version accepted and that would be refused
/// now remains valid; its matching has the same budget. `None` if it does not compile at all.
pub fn compile_recorded(pattern: &str) -> Option<LinePattern> {
    let with_former_limit = || build(pattern, COMPILED_BEFORE_MAX).ok().map(LinePattern);
    compile(pattern).ok().or_else(with_former_limit)
}

fn build(pattern: &str, most: usize) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern)
        .size_limit(most)
        .dfa_size_limit(CACHE_MAX)
        .nest_limit(NESTED_MAX)
        .build()
}

/// Groups lines into pieces that are matched in one turn.
fn pieces(lines: Vec<String>) -> Vec<Vec<String>> {
    let mut pieces: Vec<Vec<String>> = Vec::new();
    let mut room = 0_usize;
    for line in lines {
        match pieces.last_mut().filter(|_| line.len() <= room) {
            Some(piece) => {
                room = room.saturating_sub(line.len());
                piece.push(line);
            }
            None => {
                room = PIECE.saturating_sub(line.len());
                pieces.push(vec![line]);
            }
        }
    }
    pieces
}

/// For each expression the first line that it matches. Waits while the budget is used up. Cancel safe: the
/// piece that is being matched ends without effect.
pub async fn first_lines(
    patterns: &[LinePattern],
    lines: Vec<String>,
    budget: &MatchBudget,
) -> Vec<Option<String>> {
    let mut matched: Vec<Option<String>> = vec![None; patterns.len()];
    for piece in pieces(lines) {
        let piece: Arc<[String]> = piece.into();
        for (pattern, first_match) in patterns.iter().zip(&mut matched) {
            if first_match.is_none() {
                let (pattern, piece) = (pattern.clone(), piece.clone());
                let first = move || piece.iter().find(|line| pattern.0.is_match(line)).cloned();
                *first_match = budget.run(first).await.flatten();
            }
        }
    }
    matched
}

/// The first group of the expression, or its whole match, in the first of the lines that it matches. Ends
/// with an error when the budget is used up.
///
/// # Errors
/// In words for the user.
pub async fn first_group(
    pattern: &LinePattern,
    lines: Vec<String>,
    budget: &MatchBudget,
) -> Result<Option<String>, String> {
    for piece in pieces(lines) {
        if budget.is_used_up() {
            return Err(USED_UP.to_owned());
        }
        let pattern = pattern.clone();
        let group = move || piece.iter().find_map(|line| group_of(&pattern.0, line));
        if let Some(group) = budget.run(group).await.flatten() {
            return Ok(Some(group));
        }
    }
    Ok(None)
}

fn group_of(pattern: &Regex, line: &str) -> Option<String> {
    let groups = pattern.captures(line)?;
    let group = groups.get(1).or_else(|| groups.get(0))?;
    Some(group.as_str().to_owned())
}

/// For each line whether the expression matches it. Ends with an error when the budget is used up.
///
/// # Errors
/// In words for the user.
pub async fn matching(
    pattern: &LinePattern,
    lines: Vec<String>,
    budget: &MatchBudget,
) -> Result<Vec<bool>, String> {
    let mut matches = Vec::new();
    for piece in pieces(lines) {
        if budget.is_used_up() {
            return Err(USED_UP.to_owned());
        }
        let (pattern, length) = (pattern.clone(), piece.len());
        let look = move || {
            let looked = piece.iter().map(|line| pattern.0.is_match(line));
            looked.collect::<Vec<_>>()
        };
        let looked = budget.run(look).await;
        matches.extend(looked.unwrap_or_else(|| vec![false; length]));
    }
    Ok(matches)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_compile_within_bounds() {
        assert!(compile("Server (up|ready) on port [0-9]+").is_ok());
        assert!(compile(r"^\w+ \w+ \w+ \w+: \d+\s*$").is_ok());
        for (bad, words) in [
            ("", "empty"),
            ("(unclosed", "does not compile"),
            ("(a{1000}){1000}", "too large"),
            ("[01]*1[01]{2000}z", "too large"),
            (r"(?u)\w{100}", "too large"),
            (&format!("(?i){}", "[^a]".repeat(250)), "classes"),
            (&r"\pL".repeat(300), "classes"),
            (&"x".repeat(PATTERN_MAX + 1), "longer"),
            (&"(".repeat(200), "does not compile"),
        ] {
            let error = compile(bad).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    /// The worst that the limit on classes permits costs as much as the worst without classes.
    #[test]
    fn no_expression_takes_long_to_compile() {
        let any = r"[\x{0}-\x{10ffff}]";
        let tail = "x".repeat(500);
        for worst in [
            format!("(?i){}{tail}", any.repeat(classes::MOST)),
            format!("(?i)[{}]{tail}", r"\PL".repeat(classes::MOST - 1)),
            format!("(?iu){}{tail}", r"\W".repeat(classes::MOST)),
            format!("(?i)[a-z{}]", "&&a-z".repeat(classes::MOST)),
        ] {
            let begun = std::time::Instant::now();
            let _ = compile(&worst);
            let needed = begun.elapsed();
            assert!(
                needed < std::time::Duration::from_secs(2),
                "{worst}: {needed:?}"
            );
        }
    }

    #[test]
    fn an_expression_is_checked_once() {
        for (pattern, is_good) in [("only here [a-z]", true), ("only here (", false)] {
            assert!(!is_checked(pattern));
            assert_eq!(check(pattern).is_ok(), is_good);
            assert!(is_checked(pattern));
            assert_eq!(check(pattern).is_ok(), is_good);
        }
    }

    #[test]
    fn what_an_earlier_version_accepted_remains_valid() {
        let large = "[01]*1[01]{2000}z";
        assert!(compile(large).is_err() && compile_recorded(large).is_some());
        assert!(compile_recorded("(a{1000}){1000}").is_none());
    }

    #[test]
    fn lines_are_matched_in_pieces() {
        let lines = vec!["x".repeat(1_000); 10];
        let sizes: Vec<_> = pieces(lines).iter().map(Vec::len).collect();
        assert_eq!(sizes, [4, 4, 2]);
        assert_eq!(pieces(vec!["x".repeat(9_000)]).len(), 1);
    }

    /// Lines of random bits, as a hostile guest prints them.
    fn random_bits(lines: usize) -> Vec<String> {
        let mut state = 1_u32;
        let mut bit = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if state >> 31 == 0 { '0' } else { '1' }
        };
        (0..lines)
            .map(|_| (0..1_000).map(|_| bit()).collect())
            .collect()
    }

    #[tokio::test]
    async fn costly_expressions_hold_up_neither_the_runtime_nor_another_guest() {
        let pattern = compile("[01]*1[01]{700}z").unwrap();
        let hostile = tokio::spawn(async move {
            let patterns = vec![pattern; 4];
            first_lines(&patterns, random_bits(40), &MatchBudget::of("host")).await
        });
        tokio::task::yield_now().await;
        let begun = std::time::Instant::now();
        let honest = [compile("login:").unwrap()];
        let lines = vec!["box login:".to_owned()];
        let matched = first_lines(&honest, lines, &MatchBudget::of("host")).await;
        assert_eq!(matched, [Some("box login:".to_owned())]);
        assert!(!hostile.is_finished(), "too little for this test");
        assert!(begun.elapsed() < std::time::Duration::from_secs(2));
        hostile.abort();
    }

    #[tokio::test]
    async fn the_first_line_that_matches_is_returned_for_each_expression() {
        let patterns = [compile("b").unwrap(), compile("z").unwrap()];
        let lines = || ["a", "b1", "b2"].map(str::to_owned).to_vec();
        let budget = MatchBudget::of("host");
        let matched = first_lines(&patterns, lines(), &budget).await;
        assert_eq!(matched, [Some("b1".to_owned()), None]);
        let pattern = compile("b([0-9])").unwrap();
        let group = first_group(&pattern, lines(), &budget).await;
        assert_eq!(group, Ok(Some("1".to_owned())));
        let matches = matching(&pattern, lines(), &budget).await;
        assert_eq!(matches, Ok(vec![false, true, true]));
    }
}
