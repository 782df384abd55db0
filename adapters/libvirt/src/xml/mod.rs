//! Writes and parses libvirt's XML. No other module knows its format.

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
pub(crate) mod volume;
mod write;

pub(crate) use tree::{Element, XmlDocument, XmlError};
