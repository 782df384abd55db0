//! Exports runs as OpenTelemetry traces: a trace is a run, a span is an attempt of one of its steps.
//!
//! Spans are derived from the journal's events ([`spans`]), never from the memory of a process: the same
//! events make the same spans with the same IDs, however often. So the past can be exported
//! ([`follow::past`]), a repeated export creates no second trace, and what a collector misses while it
//! is down is sent later ([`follow::follow`]).
//!
//! What it never does: delay the engine (events are read from the journal, a page at a time, after the
//! previous page was sent; there is no queue), record anything in the journal, or send secrets: no event
//! contains a secret, and texts are truncated.
//!
//! Delivery is at least once: a process that ends between sending a batch and storing the position sends
//! that batch again.

mod access;
pub mod collector;
mod encode;
pub mod follow;
pub mod spans;

pub use access::{AccessError, CollectorAccess};
pub use collector::{Collector, CollectorAddress, OtlpError};
