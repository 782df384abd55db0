//! Runs as OpenTelemetry traces: a trace is a run, a span an attempt of one of its steps.
//!
//! Spans are made of the journal's events ([`spans`]), never of what a process remembers: the same events
//! make the same spans with the same IDs, whenever and however often. So the past can be exported
//! ([`follow::past`]), a repeated export is no second trace, and what a collector misses while it is down is
//! sent later ([`follow::follow`]).
//!
//! What it never does: hold up the engine (events are read from the journal, a page at a time, when the
//! page before is sent; there is no queue), record anything in the journal, or send what is secret: no
//! event has a secret, and texts are cut.
//!
//! Delivery is at least once: a process that ends between a batch and the note of it sends that batch again.

mod access;
pub mod collector;
mod encode;
pub mod follow;
pub mod spans;

pub use access::{AccessError, CollectorAccess};
pub use collector::{Collector, CollectorAddress, OtlpError};
