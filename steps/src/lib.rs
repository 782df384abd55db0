//! Steps that act on virtual server instances, the ports they act through, and a simulated host.
//!
//! A step never speaks to a host itself. It uses a [`ports`] trait, of which `adapters/libvirt` is
//! the real implementation and [`sim`] the simulated one. One conformance suite
//! ([`ports::conformance`]) runs against both; the real host is the reference.
//!
//! ```
//! use vsiflow_steps::{ports::{Hosts as _, VolumeKey}, sim::SimHosts};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hosts = SimHosts::in_memory();
//! let storage = hosts.host("lpar1").await?.storage;
//! let key = VolumeKey { pool: "images".into(), name: "hpcr.qcow2".into() };
//! // `None`: the host itself said that there is no such volume.
//! assert!(storage.volume(&key).await?.is_none());
//! // A pool that is missing says nothing about the volume: an error, never `None`.
//! let elsewhere = VolumeKey { pool: "nowhere".into(), ..key };
//! assert!(storage.volume(&elsewhere).await.is_err());
//! # Ok(())
//! # }
//! ```
//!
//! What this crate never does: it knows neither libvirt's XML nor Kubernetes, it writes no
//! journal, and it never takes unknown for absent.

pub mod awaited;
pub mod cidata;
pub mod contract;
pub mod disk;
pub mod error;
pub(crate) mod files;
pub mod guards;
pub mod guest;
pub mod host_text;
pub mod hpl;
pub mod image;
pub mod names;
pub mod network;
mod other_hosts;
pub mod ownership;
pub mod ports;
pub mod sim;
pub mod snapshot;
pub mod ssh_curve;
pub mod turns;
mod verdicts;
pub mod vsi;

#[cfg(test)]
mod tests;
