//! The pure core: identifiers, graphs, events, and the functions that fold events and decide what
//! follows.
//!
//! [`RunState::apply`] folds an event into a run's state, and [`decide`] decides what follows from
//! that state; [`EntityState::apply`] and [`decide_entity`] do the same for an entity. None of them
//! does input or output, reads a clock or draws a random number: replaying twice gives equal
//! states, deciding twice gives equal commands.

mod decide;
mod divergence;
mod entity;
mod event;
mod failure;
mod graph;
mod id;
mod objects;
mod payload;
#[cfg(test)]
mod properties;
mod state;
mod text;

pub use decide::{Command, decide};
pub use divergence::Divergence;
pub use entity::{ActiveRun, Desired, EntityCommand, EntityState, LastRun, decide_entity};
pub use event::{Actor, CancelMode, Event, EventKind, Outcome, Precedence, RunResult, Wait};
pub use failure::{Failure, FailureClass};
pub use graph::{Graph, GraphError, Node, Work};
pub use id::{EntityId, InvalidId, RunId, StreamId, Timestamp};
pub use objects::{ObjectInUse, Objects, Spender, Warrant, WarrantId};
pub use payload::{Hash, INLINE_MAX, Payload};
pub use state::{NodeState, RunPhase, RunState};
pub use text::{Name, Text, Who};
