//! Notices that the engine sends while it works.

use std::sync::Arc;

use crate::{
    journal::Record,
    model::{EntityId, Failure, Name, RunId},
    room::DiskReading,
    step::Progress,
};

/// A message to all subscribers. Subscribers that lag lose notices, but the state is never lost.
#[derive(Clone, Debug)]
pub enum Notice {
    /// An event is durable.
    Recorded(Arc<Record>),
    /// A step reports its progress.
    Progress {
        /// The entity.
        entity: EntityId,
        /// The run.
        run: RunId,
        /// The node.
        node: Name,
        /// The progress.
        progress: Progress,
    },
    /// An attempt failed like the one before it; it is counted, not recorded.
    Repeated {
        /// The run.
        run: RunId,
        /// The node.
        node: Name,
        /// The number of the attempt.
        attempt: u32,
        /// The failure.
        failure: Failure,
        /// Milliseconds until the next attempt.
        delay_ms: u64,
    },
    /// The desired state cannot be turned into a run.
    Unopened {
        /// The entity.
        entity: EntityId,
        /// Why it cannot.
        failure: Failure,
    },
    /// The room on the state directory's disk reached another level.
    Room(DiskReading),
    /// The engine has ended; nothing more follows.
    Ended,
}
