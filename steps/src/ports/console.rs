//! The port to console logs.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{PortResult, VolumeKey};

/// A position in a console log. Offsets count from the start of the current log file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsolePosition {
    /// Bytes of the current log file that were read.
    pub offset: u64,
}

/// Bytes that were read from a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleChunk {
    /// The bytes; a guest may write anything.
    pub bytes: Bytes,
    /// Where to continue.
    pub next: ConsolePosition,
}

/// Console logs of a host.
#[async_trait]
pub trait ConsolePort: Send + Sync {
    /// Reads at most `max` bytes from `position`; no bytes if there are none yet.
    ///
    /// A log shorter than the position was rotated (virtlogd renames it to `….0` at 2 MiB): the rest of
    /// the old file is returned first, then the new one from its start.
    async fn read(
        &self,
        log: &VolumeKey,
        position: ConsolePosition,
        max: u64,
    ) -> PortResult<ConsoleChunk>;

    /// The log's current end, as noted before a start.
    async fn end(&self, log: &VolumeKey) -> PortResult<ConsolePosition>;
}
