//! The event log: every batch of a journal in append-only segments, the only source of truth.
//!
//! ```text
//! log/00000000000000000000         a segment; its name is the offset of its first event
//! log/00000000000000000000.table   the places of its streams' records, written once it is full
//! log/00000000000000004711         the newest segment, which is appended to
//! segment.next                     the preallocated file of the next segment, all zeros
//! archive/…                        older segments, compressed; see [`super::archive`]
//! ```
//!
//! A segment begins with a header ([`header`]), followed by frames ([`frame`]). A frame is a batch or
//! a part of a base ([`base`]). The bytes after the last frame are zero. Callers add their events to
//! the next batch ([`stage`]). One thread writes ([`writer`]): it turns all waiting events into one
//! frame, writes it, syncs once and then answers. The file is preallocated with zeros, so that a
//! sync has no metadata to write.
//!
//! # Guarantees
//! - An acknowledged event is in a frame that was synced. A frame is written only after the previous
//!   frame was synced, and states the position up to which the log was synced.
//! - So the end of a log can be distinguished from damage ([`recover`]). A bad frame at or after the
//!   highest position that any whole frame states as synced was never acknowledged; it is zeroed
//!   before the next append. A bad frame below that position was acknowledged: it is never cut off, and
//!   nothing is appended until it is repaired.
//! - Whole frames that no later frame states as synced are written and synced again before anything
//!   is appended. After a failed sync, the kernel may treat pages as clean that never reached the
//!   disk.
//! - A write or a sync that fails ends all writing of this process.
//! - Reading writes nothing. Opening reads only the newest segment and the tables of the others.
//!
//! # What it never does
//! It does not fold events. It never changes a byte that a whole frame covers, and never deletes a
//! segment that is not whole in the archive.

pub(super) mod base;
mod disk;
mod error;
mod find;
mod frame;
mod header;
mod keeper;
mod reader;
mod recover;
pub(in crate::journal) mod repair;
mod retired;
mod scan;
mod segment;
mod settle;
mod shared;
mod stage;
mod table;
mod writer;

pub(crate) use self::disk::{DiskFile, LocalDisk, LogDisk};
pub(crate) use self::recover::OpenMode;
pub(super) use self::{
    reader::SegmentReader,
    recover::open,
    retired::moved,
    segment::{Segment, SegmentSource},
    shared::LogShared,
    stage::{AloneWrite, LogStage, LogWriteReply, LogWriteRequest},
    writer::LogWriter,
};
pub use self::{
    repair::{DamagedRange, Lost, RecoveredRange, RepairSource as Regainable},
    shared::Damage,
};

/// The folder of the segments and their tables, below the state directory.
pub(crate) const FOLDER: &str = "log";

/// The size of the first segment, in bytes: a small journal stays small.
const FIRST_SIZE: u64 = 1 << 20;
/// The size of every other segment, in bytes.
const SIZE: u64 = 8 << 20;

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
