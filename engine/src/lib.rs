//! The durable engine: it records desired state and every outcome, and resumes after any crash.
//!
//! A request or an outcome becomes an [`model::Event`]. The event is appended to the
//! [`journal::Journal`], the states are folded from it ([`model::RunState::apply`]), and
//! [`model::decide`] decides what comes next.
//!
//! ```
//! use vsiflow_engine::{
//!     journal::{Append, Journal as _, MemoryJournal},
//!     model::{Actor, EntityId, EntityState, Event, EventKind, Name, Payload, Precedence},
//!     model::{EntityCommand, StreamId, Text, Timestamp, decide_entity},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let desired = Event {
//!     at: Timestamp(0),
//!     actor: Actor::Engine,
//!     reason: Text::new("an example"),
//!     kind: EventKind::Desired {
//!         generation: 1,
//!         workflow: Name::of("provision_vsi"),
//!         precedence: Precedence::Supersede,
//!         desired: Payload::Inline(b"{}".to_vec()),
//!     },
//! };
//! let stream = StreamId::Entity(EntityId::new(Name::of("vsi"), "web")?);
//! let journal = MemoryJournal::new();
//! let append = Append { stream, expected_seq: 0, events: vec![desired] };
//! let records = journal.append(vec![append]).await?;
//!
//! let mut state = EntityState::default();
//! for record in &records {
//!     state.apply(&record.event)?;
//! }
//! let next = decide_entity(&state);
//! assert!(matches!(next, Some(EntityCommand::OpenRun { generation: 1, .. })));
//! # Ok(())
//! # }
//! ```
//!
//! `examples/hello_workflow.rs` is a complete workflow that is killed and resumes.
//!
//! This crate knows nothing of virtual servers, libvirt or Kubernetes. Its pure core ([`model`])
//! does no input or output, reads no clock and draws no random number.
//!
//! Guarantees:
//! - What [`journal::Journal::append`] acknowledged is durable and in one total order.
//! - A step whose success was recorded is never run again in its run.
//! - A step may be attempted more than once: at-least-once plus idempotent steps.
//! - At most one run of an entity is open at a time.

#![cfg_attr(
    test,
    expect(
        clippy::duplicate_mod,
        reason = "the group commit is tried once more under a scheduler that tries all orders"
    )
)]

pub mod audit;
pub mod backup;
pub mod blob;
mod blocking;
pub mod causes;
pub mod checkpoint;
pub mod clock;
pub mod executor;
mod files;
mod fold;
pub mod group_commit;
#[cfg(test)]
mod group_commit_model;
pub mod journal;
pub mod lane;
pub mod lease;
pub mod low_priority;
pub mod model;
mod parallel;
mod permit;
pub mod registry;
pub mod replay;
pub mod retention;
pub mod room;
pub mod secret;
pub mod state_dir;
pub mod step;
mod sync;
pub mod workflow;

pub use executor::{Engine, EngineConfig, EngineError, Notice};
