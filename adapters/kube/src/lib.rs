//! Kubernetes operator: reads the desired state from custom resources and writes their status.
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
//! The data path, one file each: `watch` caches what the API server sends; `document` converts it to
//! documents; `translate` resolves them and finds mistakes; `controller` submits the difference to the
//! fleet and removes finalizers; `follow` follows the fleet; `report` and `reporter` write status;
//! `events` reports transitions; [`leader`] holds the Lease.
//!
//! **Guarantees.** A resource's VSI has the resource's UID. The finalizer is set before the resource is
//! submitted to the fleet, and removed only when the fleet reports `Deleted` (the host confirmed it) or
//! when the annotation `vsiflow.io/orphan: "true"` requests it. Only a resource with a deletion
//! timestamp is ever deleted: a list that is empty or forbidden, a lost watch, or a resource that
//! vanished although it had our finalizer deletes nothing. Everything written is derived from fleet and
//! cluster, so a crash at any point loses nothing: the next start lists, translates and compares.
//!
//! What this crate never does: decide what happens to a VSI, speak to a host, write a journal, store a
//! secret, or panic on any content of a cluster.
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

pub use api::CallError;
pub use controller::LostJournal;
pub use health::Health;
pub use kube::Client;
pub use operator::{ApiConnectError, Namespaces, Operator, OperatorEnd, WatchedCluster, connect};
pub use view::View;

/// The field manager of everything that the operator writes.
pub const FIELD_MANAGER: &str = "vsiflow";
/// The finalizer. It retains a resource until its host confirmed that nothing is left.
pub const FINALIZER: &str = "vsiflow.io/finalizer";
/// The annotation that permits a deleted resource to go away although everything remains on its host.
pub const ORPHAN: &str = "vsiflow.io/orphan";
/// The annotation that approves a waiting change. Its value is the ID of the proposal in the status.
pub const APPROVE: &str = "vsiflow.io/approve";
/// Prefix of the previous operator's finalizers.
pub const OLD_FINALIZER: &str = "metacontroller.io/";
/// The annotation that has the existing domain adopted and observed, instead of a new one made.
pub const ADOPT: &str = "vsiflow.io/adopt";
