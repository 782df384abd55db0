//! Errors of other crates, with what caused them.

use std::error::Error;

/// An error and its causes in one line: the outermost one seldom says what it was.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Many errors repeat their causes.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}
