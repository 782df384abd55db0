//! The configuration of an engine, and the types of its requests and results.

use std::{sync::Arc, time::Duration};

use crate::{
    blob::Blobs,
    checkpoint::Checkpoints,
    clock::Clock,
    journal::Journal,
    lane::Lanes,
    lease::Lease,
    model::{Actor, EntityId, Text},
    registry::Registry,
    room::Room,
    workflow::Workflows,
};

/// Everything that an engine needs.
pub struct EngineConfig {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Store of large payloads.
    pub blobs: Arc<dyn Blobs>,
    /// Store of the steps' checkpoints.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// The steps that this binary has.
    pub registry: Registry,
    /// The definitions of the workflows.
    pub workflows: Arc<dyn Workflows>,
    /// Probes lanes (hosts) and knows which failures mean that a lane does not answer.
    pub lanes: Arc<dyn Lanes>,
    /// The clocks.
    pub clock: Arc<dyn Clock>,
    /// The journal's identity.
    pub journal_id: Arc<str>,
    /// The disk space that the journal may use.
    pub room: Arc<Room>,
    /// The right to act.
    pub lease: Arc<Lease>,
    /// Delays and limits.
    pub tuning: Tuning,
}

/// Delays and limits.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The delay after the first failure; it doubles from there.
    pub first_retry: Duration,
    /// No delay is longer than this.
    pub longest_retry: Duration,
    /// The longest delay between two probes of a lane (a host) that does not answer.
    pub longest_probe: Duration,
    /// How often a step with a failure of class `recheck` is attempted again.
    pub recheck: Duration,
    /// How far a growing delay may deviate, as a share of it, so that not all steps ask a host at
    /// the same time. Simulations that must repeat exactly use 0.
    pub jitter: f64,
    /// The most attempts at the same time in one lane (on one host).
    pub attempts_per_lane: usize,
    /// The first pause of a step during which the process ended uncleanly three times in a row; it
    /// doubles from there.
    pub first_unclean_pause: Duration,
    /// No such pause is longer than this.
    pub longest_unclean_pause: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            first_retry: Duration::from_millis(500),
            longest_retry: Duration::from_secs(300),
            longest_probe: Duration::from_secs(30),
            recheck: Duration::from_secs(300),
            jitter: 0.3,
            attempts_per_lane: 16,
            first_unclean_pause: Duration::from_secs(10),
            longest_unclean_pause: Duration::from_secs(3_600),
        }
    }
}

/// The actor and reason of a request.
#[derive(Clone, Debug)]
pub struct By {
    /// The actor.
    pub actor: Actor,
    /// The reason; may be empty.
    pub reason: Text,
}

/// Which entities the engine works for.
#[derive(Clone, Debug)]
pub enum Drive {
    /// All existing and future entities.
    All,
    /// These entities, and those that they wait for.
    These(Vec<EntityId>),
}

/// The result of a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// The open run attempts its blocked and delayed nodes immediately.
    Signalled,
    /// A new run is opened.
    Reopened,
    /// There was nothing to retry.
    NothingToDo,
}

/// The result of a cancel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The open run was asked to stop, and orders to destroy something that it did not use are void.
    Requested,
    /// No run is open; orders to destroy something were open, and are void now.
    OrdersVoided,
    /// No run is open.
    NothingToDo,
}
