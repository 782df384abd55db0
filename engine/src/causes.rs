//! Formats errors of other crates together with their causes.

use std::error::Error;

/// An error and its causes in one line, because the outermost error rarely says what happened.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        // Many errors already contain the text of their causes.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}
