//! The durable engine: it records what is wanted and what was done, and goes on after any crash.
//!
//! The way of the data is always the same: a wish or an outcome becomes an [`model::Event`], the
//! event is appended to the [`journal::Journal`], the states are folded from it
//! ([`model::RunState::apply`]), and [`model::decide`] says what comes next.
//!
//! What this crate never does: it knows no virtual server, no libvirt and no Kubernetes; its pure
//! core ([`model`]) does no input or output, sees no clock and draws no random number.
//!
//! Guarantees:
//! - What [`journal::Journal::append`] acknowledged is durable and in one total order.
//! - A step whose success was recorded is never run again in its run.
//! - A step may be attempted more than once: at-least-once plus idempotent steps.
//! - At most one run an entity is open at a time.

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
mod group_commit;
#[cfg(test)]
mod group_commit_model;
pub mod journal;
pub mod lane;
pub mod lease;
pub mod model;
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
