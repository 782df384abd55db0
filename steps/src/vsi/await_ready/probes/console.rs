//! The probe for a line of the console that matches a regular expression.

use crate::guest::{
    Probe,
    pattern::{LinePattern, compile_recorded},
};

/// The expression of a console probe. One that does not compile was refused with its document; a journal
/// of another version may still hold one, and it matches nothing.
pub(super) fn pattern(probe: &Probe) -> Option<LinePattern> {
    match probe {
        Probe::Console(text) => compile_recorded(text),
        _ => None,
    }
}
