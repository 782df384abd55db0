//! What the guest's console means: a catalogue of its codes and words, and a scanner for the
//! stream.
//!
//! The console is whatever a guest chooses to write. The scanner therefore takes any bytes in any
//! pieces, keeps at most one bounded line, and never hands out what a terminal would obey.

mod catalogue;
mod scan;
#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, CatalogueEntry, MessageKind, Words};
pub use scan::{HplFinding, LINE_MAX, Scanner, cut, is_invisible, plain};
