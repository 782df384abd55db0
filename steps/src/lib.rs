//! Steps that act on virtual server instances, the ports they act through, and a simulated host.
//!
//! A step never speaks to a host itself: it goes through a [`ports`] trait, of which
//! `adapters/libvirt` is the real implementation and [`sim`] the simulated one. One contract test
//! suite ([`ports::contract`]) runs against both; the real host is the reference.
//!
//! What this crate never does: it knows neither libvirt's XML nor Kubernetes, it writes no
//! journal, and it never takes unknown for absent.

pub mod cidata;
pub mod contract;
pub mod disk;
pub mod error;
pub(crate) mod files;
pub mod guards;
pub mod hpl;
pub mod image;
pub mod names;
pub mod ownership;
pub mod ports;
pub mod sim;
pub mod vsi;

#[cfg(test)]
mod tests;
