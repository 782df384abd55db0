//! Helpers that all scenarios share: run vsiflow, write documents, serve images, inspect hosts.
//!
//! A failed expectation ends the test, so everything here panics instead of returning errors.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod aggregated;
pub mod cluster;
pub mod console;
pub mod disks;
pub mod documents;
pub mod expiring_lists;
pub mod history;
pub mod http;
pub mod jumps;
pub mod lab;
pub mod plugin;
pub mod reboot;
pub mod registry;
pub mod rights;
mod running;
pub mod server;
pub mod sim;
pub mod until;
pub mod upload;
pub mod viewer;
pub mod vsiflow;

pub use aggregated::{Aggregated, Pair};
pub use cluster::TestCluster;
pub use console::TestConsole;
pub use disks::DiskDocument;
pub use documents::{Host, SIMULATED_IMAGE, Vsi};
pub use expiring_lists::ExpiringLists;
pub use jumps::{HostBehind, Jump};
pub use lab::Lab;
pub use plugin::Plugin;
pub use running::Running;
pub use server::{Answer, Server};
pub use sim::Sim;
pub use until::{until, until_lasting};
pub use upload::TestUpload;
pub use vsiflow::{Ran, Vsiflow, benchmark, binary};
