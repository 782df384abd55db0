//! Interprets a guest's console: a catalogue of its codes and words, and a scanner for the stream.
//!
//! The guest may write anything to its console. So the scanner accepts any bytes in pieces of any size,
//! buffers at most one bounded line, and never returns control characters that a terminal would obey.

mod catalogue;
mod scan;
#[cfg(test)]
mod tests;

pub use catalogue::{Catalogue, CatalogueEntry, MessageKind, Words};
pub use scan::{HplFinding, LINE_MAX, Scanner, cut, is_invisible, plain};
