//! Desired state of VSIs and other entities, the step graphs that reach it, and the façade [`fleet`].
//!
//! [`spec`] defines what a document may contain, and resolves documents to desired state. Each workflow
//! has a file with its graph. [`phase`] derives the state of an entity. [`fleet`] is what the command
//! line, Kubernetes and the daemon call.
//!
//! ```
//! use vsiflow_workflows::spec::{HostSettings, Quantity};
//!
//! let size: Quantity = "100Gi".parse()?;
//! assert_eq!(size.bytes(), 107_374_182_400);
//!
//! let host: HostSettings = "ssh://root@lpar1.example.com?known_hosts=/etc/vsiflow/known_hosts".parse()?;
//! assert!(host.id().contains("lpar1.example.com"));
//! assert!("qemu+ssh://root@lpar1/system".parse::<HostSettings>().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! This crate knows neither YAML nor Kubernetes nor libvirt. It changes hosts and writes journals only
//! through the engine.

mod acts;
pub mod adopt_vsi;
mod boot_disks;
mod cards;
mod credentials;
pub mod data_disk;
pub mod delete_vsi;
pub mod drift;
pub mod ensure_base_image;
pub mod fleet;
mod forgotten;
mod formats;
pub mod group;
pub mod hosts;
mod inputs;
pub mod kinds;
mod macs;
pub mod network;
pub mod next_try;
mod nodes;
mod one_host;
pub mod orders;
pub mod phase;
pub mod placement;
pub mod plan;
pub mod pool;
pub mod provision_vsi;
pub mod quota;
mod reach;
pub mod record;
pub mod remove_base_image;
mod restoration;
pub mod snapshot;
pub mod spec;
pub mod steps;
pub mod update_vsi;
mod vsi_graph;
pub mod workflow;
