//! Writes and parses libvirt's XML. No other module knows its format.
//!
//! A host decides how long its documents are, so long ones are parsed outside of the runtime's threads, in the turns of
//! the host's owner ([`in_turn`]), and all are bounded (`tree`).

pub(crate) mod capabilities;
pub(crate) mod domain;
pub(crate) mod domain_info;
#[cfg(test)]
mod fuzz;
pub(crate) mod network;
pub(crate) mod pool;
pub(crate) mod saved;
pub(crate) mod screen;
pub(crate) mod snapshot;
mod tree;
mod turn;
pub(crate) mod volume;
mod write;

pub(crate) use tree::{Element, XmlDocument, XmlError};
pub(crate) use turn::in_turn;
