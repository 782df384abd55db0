//! What the engine tells while it works.

use std::sync::Arc;

use crate::{
    journal::Record,
    model::{EntityId, Failure, Name, RunId},
    room::DiskReading,
    step::Progress,
};

/// Something the engine tells whoever listens. Listeners that lag lose notices, never state.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An event is durable.
    Recorded(Arc<Record>),
    /// A step tells how far it is.
    Progress {
        /// For which entity.
        entity: EntityId,
        /// In which run.
        run: RunId,
        /// At which node.
        node: Name,
        /// How far.
        progress: Progress,
    },
    /// An attempt failed like the one before it; it is counted, not recorded.
    Repeated {
        /// In which run.
        run: RunId,
        /// At which node.
        node: Name,
        /// The attempt.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// Milliseconds until the next.
        delay_ms: u64,
    },
    /// The desired state cannot be turned into a run.
    Unopened {
        /// Of which entity.
        entity: EntityId,
        /// Why.
        failure: Failure,
    },
    /// The state directory's disk has another level of room.
    Room(DiskReading),
    /// The engine has ended; nothing more follows.
    Ended,
}
