//! The archive: full segments of the log, compressed without loss.
//!
//! ```text
//! archive/00000000000000000000         a segment: separately compressed blocks, and an index
//! archive/00000000000000000000.table   its table, as it was in the log
//! ```
//!
//! A segment is compressed into a temporary file, synced, read back and compared with the original,
//! and then renamed into the archive. Only then is it removed from the log. A reader that has the
//! segment open can continue to read it.
//!
//! This module removes nothing that it has not read back, and changes nothing that it has written.

mod packed;
mod retire;

pub(in crate::journal) use self::{packed::PackedSegment, retire::retire};

/// The folder of the archive, below the state directory.
pub(crate) const FOLDER: &str = "archive";
