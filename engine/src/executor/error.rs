//! The errors of the engine.

use super::projection::LoadError;
use crate::{
    journal::JournalError,
    model::{Divergence, Failure},
};

/// Why the engine could not handle a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The journal failed. Everything that it acknowledged is safe; a restart continues.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal holds, or the engine produced, an event that cannot follow the earlier ones.
    #[error("stream {stream}, event {seq}: {why}")]
    Divergence {
        /// The stream; empty for an event that was not recorded.
        stream: String,
        /// The sequence in the stream.
        seq: u64,
        /// Why it cannot follow.
        why: Divergence,
    },
    /// The desired state was refused before anything was recorded.
    #[error("{0}")]
    Refused(Failure),
    /// The journal was restored from a backup and has not been confirmed yet.
    #[error("this state directory was restored from a backup and only observes")]
    ObservesOnly,
    /// The engine has ended.
    #[error("the engine has ended")]
    Ended,
}

impl From<LoadError> for EngineError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Journal(error) => Self::Journal(error),
        }
    }
}

impl From<Divergence> for EngineError {
    fn from(why: Divergence) -> Self {
        Self::Divergence {
            stream: String::new(),
            seq: 0,
            why,
        }
    }
}
