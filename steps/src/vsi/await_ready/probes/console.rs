//! The probe for a line of the console that matches a regular expression.

use regex::Regex;

use crate::guest::{Probe, pattern};

/// The expression of a console probe. One that does not compile was refused with its document; a journal
/// of another version may still hold one, and it matches nothing.
pub(super) fn pattern(probe: &Probe) -> Option<Regex> {
    match probe {
        Probe::Console(text) => pattern::compile(text).ok(),
        _ => None,
    }
}
