//! Desired state from custom resources, status back.
//!
//! The resources of a cluster (the kinds of `hpse.ibm.com/v1` and `vsiflow.io/v1`, ConfigMaps and Secrets) become
//! the same documents that files contain, are resolved by the same rules, and go to the
//! [`Fleet`]; the fleet's reports become status, conditions and Events.
//!
//! ```
//! use vsiflow_kube::crd::{Rules, all, yaml};
//!
//! let definitions = yaml(Rules::None)?;
//! let each = definitions.matches("kind: CustomResourceDefinition");
//! assert_eq!(each.count(), all().len());
//! # Ok::<(), String>(())
//! ```
//!
//! The path of the data, a file each: `watch` caches what the API server says; `document` makes
//! documents of it; `translate` resolves them and finds mistakes; `controller` submits the
//! difference to the fleet and releases finalizers; `follow` follows the fleet; `report` and
//! `reporter` write status; `events` reports transitions; [`leader`] holds the Lease.
//!
//! **Guarantees.** A resource's VSI has the resource's UID. Its finalizer is set before the fleet
//! hears of it, and removed only when the fleet says `Deleted` (the host confirmed it) or when the
//! annotation `vsiflow.io/orphan: "true"` asks for that. Only a resource with a deletion timestamp
//! is ever deleted: a list that comes back empty or forbidden, a lost watch, or a resource that
//! vanished although it had our finalizer deletes nothing. Everything written is derived anew
//! from fleet and cluster, so that a crash at any point loses nothing: the next start lists,
//! translates and compares.
//!
//! What this crate never does: decide what happens to a VSI, speak to a host, write a journal,
//! store a secret, or panic on whatever a cluster holds.
//!
//! [`Fleet`]: vsiflow_workflows::fleet::Fleet

mod api;
mod controller;
pub mod crd;
mod document;
mod event_recorder;
mod events;
#[cfg(test)]
mod fake;
mod follow;
mod health;
pub mod id_key;
mod kind;
pub mod leader;
pub mod migrate;
mod operator;
pub mod plugin;
mod report;
mod reporter;
mod resource;
mod resource_cache;
#[cfg(test)]
mod sample;
pub mod share;
mod status_queue;
pub mod subresources;
mod translate;
mod view;
mod watch;

pub use controller::LostJournal;
pub use health::Health;
pub use kube::Client;
pub use operator::{ApiConnectError, Namespaces, Operator, OperatorEnd, WatchedCluster, connect};
pub use view::View;

/// The name by which the API server knows what is written here.
pub const FIELD_MANAGER: &str = "vsiflow";
/// Keeps a resource until its host confirmed that nothing is left.
pub const FINALIZER: &str = "vsiflow.io/finalizer";
/// The annotation that lets a deleted resource go although its host keeps everything.
pub const ORPHAN: &str = "vsiflow.io/orphan";
/// The annotation that approves a change that waits: the id of the proposal, as the status tells it.
pub const APPROVE: &str = "vsiflow.io/approve";
/// How the finalizers of the operator before this one begin.
pub const OLD_FINALIZER: &str = "metacontroller.io/";
/// The annotation that has what stands on the host adopted and observed, instead of made.
pub const ADOPT: &str = "vsiflow.io/adopt";
