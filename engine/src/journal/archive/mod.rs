//! The archive: full segments of the log, compressed, byte for byte what they were.
//!
//! ```text
//! archive/00000000000000000000         a segment: blocks, each compressed by itself, and an index
//! archive/00000000000000000000.table   its table, as it was in the log
//! ```
//!
//! A segment is compressed beside the archive, read back and held against its bytes, synced, and
//! renamed; only then is it removed from the log. Whoever had it open keeps what it reads.
//!
//! What this room never does: it removes nothing that it has not read back, and changes nothing
//! that it wrote.

mod packed;
mod retire;

pub(in crate::journal) use self::{packed::PackedSegment, retire::retire};

/// The folder, below the state directory.
pub(crate) const FOLDER: &str = "archive";
