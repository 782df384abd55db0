//! Desired state, the step graphs that reach it, and the one façade over all of it.
//!
//! [`spec`] says what a document may hold and resolves documents to desired state; each workflow
//! has a file with its graph; [`phase`] names the state an entity is in; [`fleet`] is what the
//! command line, Kubernetes and the daemon alike call.
//!
//! What this crate never does: it knows neither YAML nor Kubernetes nor libvirt, and nothing of
//! it changes a host or writes a journal but through the engine.

pub mod adopt_vsi;
mod credentials;
pub mod data_disk;
pub mod delete_vsi;
pub mod drift;
pub mod ensure_base_image;
pub mod fleet;
mod formats;
pub mod hosts;
pub mod next_try;
mod nodes;
pub mod phase;
pub mod plan;
pub mod provision_vsi;
mod reach;
pub mod record;
pub mod remove_base_image;
pub mod spec;
pub mod steps;
pub mod update_vsi;
mod vsi_graph;
pub mod workflow;
