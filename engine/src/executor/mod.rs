//! Executes: one loop that decides and appends, and the attempts of steps it starts.
//!
//! The [`Engine`] is a handle. Behind it one task (`control`) owns all state: it takes requests,
//! ends of attempts and due timers, turns them into events, asks [`crate::model::decide`] what
//! follows, appends everything in one durable batch, and only then starts what was decided.
//! What it has not appended nobody outside has seen.
//!
//! What it never does: it never starts a step before the start is durable; it never runs a step
//! again whose success was recorded; it never ends a run while one of its attempts is under way.
//!
//! An entity is *driven* only when somebody asked for it ([`Engine::desire`], [`Engine::drive`]),
//! so that a command that only reads changes nothing.

mod answers;
mod attempt;
mod bases;
mod brake;
mod control;
mod disk;
mod driven;
mod effects;
mod ends;
mod entities;
mod error;
mod handle;
mod lanes;
mod launch;
mod limits;
mod notice;
mod parts;
mod past;
mod recorder;
mod request;
mod retry;
mod runs;
mod shared;
#[cfg(test)]
mod tests;
mod timers;
mod told;
mod world;

pub use error::EngineError;
pub use handle::Engine;
pub use notice::Notice;
pub use parts::{By, Cancelled, Drive, EngineParts, Retried, Tuning};
pub use past::Past;
pub use world::Unreadable;
