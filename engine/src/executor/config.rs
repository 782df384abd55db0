//! What an engine is made of, and what it is asked with.

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

/// What an engine is made of.
pub struct EngineConfig {
    /// The journal.
    pub journal: Arc<dyn Journal>,
    /// Where larger payloads are.
    pub blobs: Arc<dyn Blobs>,
    /// Where steps keep their positions.
    pub checkpoints: Arc<dyn Checkpoints>,
    /// The steps this binary knows.
    pub registry: Registry,
    /// Who knows what an entity is.
    pub workflows: Arc<dyn Workflows>,
    /// Who knows whether a lane (a host) is in reach.
    pub lanes: Arc<dyn Lanes>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// The journal's identity.
    pub journal_id: Arc<str>,
    /// Room for the journal.
    pub room: Arc<Room>,
    /// The right to act.
    pub lease: Arc<Lease>,
    /// Numbers.
    pub tuning: Tuning,
}

/// Delays and limits.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// The delay after the first failure; it doubles from there.
    pub first_retry: Duration,
    /// No delay is longer than this.
    pub longest_retry: Duration,
    /// No delay between two looks whether a lane (a host) is in reach again is longer than this.
    pub longest_probe: Duration,
    /// How often the engine looks again whether a cause was removed.
    pub recheck: Duration,
    /// How far a growing delay may be off, as a share of it, so that hosts are not asked by all at
    /// once. Simulations that are to repeat exactly take none.
    pub jitter: f64,
    /// Attempts under way in one lane (on one host).
    pub attempts_per_lane: usize,
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
        }
    }
}

/// Who asks, and why.
#[derive(Clone, Debug)]
pub struct By {
    /// Who.
    pub actor: Actor,
    /// Why; may be empty.
    pub reason: Text,
}

/// Which entities the engine works for.
#[derive(Clone, Debug)]
pub enum Drive {
    /// All there are and will be.
    All,
    /// Those, and what they wait for.
    These(Vec<EntityId>),
}

/// What a retry did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retried {
    /// The open run tries its blocked and delayed nodes at once.
    Signalled,
    /// A new run is opened.
    Reopened,
    /// There was nothing to try again.
    NothingToDo,
}

/// What a cancel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// The open run was asked to stop.
    Requested,
    /// No run is open.
    NothingToDo,
}
