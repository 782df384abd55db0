//! The executor: one loop that decides and appends, and the attempts of steps that it starts.
//!
//! The [`Engine`] is a handle. Behind it one task (`control`) owns all state. It takes requests,
//! ends of attempts and due timers, turns them into events and asks [`crate::model::decide`] what
//! follows. It appends everything in one durable batch, and only then starts what was decided.
//! While a batch is written it decides the next one (`writing`). State that is not durable is never
//! visible outside.
//!
//! The executor never starts a step before the start is durable, never runs a step again whose
//! success was recorded, and never ends a run while one of its attempts is in progress.
//!
//! An entity is *driven* only after a caller asked for it ([`Engine::submit`], [`Engine::drive`]),
//! so a command that only reads changes nothing.

mod active_set;
mod admission;
mod as_of;
mod attempt;
mod bases;
mod circuit_breaker;
mod completion;
mod config;
mod control;
mod disk;
mod effects;
mod entities;
mod error;
mod event_log;
mod global_pause;
mod handle;
mod launch;
mod ledger;
mod limits;
mod loop_state;
mod notice;
mod objects;
mod obstacles;
mod projection;
mod recorder;
mod request;
mod requests;
mod retry;
mod runs;
mod shared;
mod suspects;
#[cfg(test)]
mod tests;
mod timers;
mod unclean_ends;
mod writing;

pub use as_of::StateAsOf;
pub use config::{By, Cancelled, Drive, EngineConfig, Retried, Tuning};
pub use error::EngineError;
pub use handle::Engine;
pub use notice::Notice;
pub(crate) use objects::disowned_entities;
pub use projection::UnreadableEntity;
