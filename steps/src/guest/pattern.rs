//! Compiles the regular expressions that users write to match the lines of a console.
//!
//! The `regex` crate matches in time linear in the line, so only the compiled size needs a limit.

use regex::{Regex, RegexBuilder};

/// Maximum length of an expression, in bytes.
pub const PATTERN_MAX: usize = 1024;
/// Maximum compiled size of an expression, in bytes.
const COMPILED_MAX: usize = 256 * 1024;
const CACHE_MAX: usize = 1024 * 1024;
const NESTED_MAX: u32 = 50;

/// Compiles an expression.
///
/// # Errors
/// # Errors
pub fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.is_empty() {
        return Err("the expression is empty, and would match any line".to_owned());
    }
    if pattern.len() > PATTERN_MAX {
        return Err(format!("the expression is longer than {PATTERN_MAX} bytes"));
    }
    let built = RegexBuilder::new(pattern)
        .size_limit(COMPILED_MAX)
        .dfa_size_limit(CACHE_MAX)
        .nest_limit(NESTED_MAX)
        .build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "the expression repeats so much that it compiles to too large a program".to_owned()
        }
        error => {
            // The crate's error shows the position over several lines; the last line says what is wrong.
            let words = error.to_string();
            let last = words.lines().last().unwrap_or_default();
            let last = last.trim_start_matches("error: ");
            format!("the expression does not compile: {last}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_compile_within_bounds() {
        assert!(compile("Server (up|ready) on port [0-9]+").is_ok());
        for (bad, words) in [
            ("", "empty"),
            ("(unclosed", "does not compile"),
            ("(a{1000}){1000}", "too large"),
            (&"x".repeat(PATTERN_MAX + 1), "longer"),
            (&"(".repeat(200), "does not compile"),
        ] {
            let error = compile(bad).unwrap_err();
            assert!(error.contains(words), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
