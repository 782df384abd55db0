//! The log: every batch of a journal in append-only segments, the only truth there is.
//!
//! ```text
//! log/00000000000000000000         a segment; its name is the offset of its first event
//! log/00000000000000000000.table   where its streams' records lie, written once it is full
//! log/00000000000000004711         the newest segment, which is appended to
//! segment.next                     room for the one after it, zeros so far
//! archive/…                        older segments, compressed; see [`super::archive`]
//! ```
//!
//! A segment begins with a header ([`header`]) and holds frames ([`frame`]) one after another: a
//! batch each, or a part of a base ([`base`]). What follows the last frame is zero. Callers take
//! their events into the next batch ([`stage`]). One thread writes ([`writer`]): it turns all that
//! waits into one frame, writes it, syncs once and then answers. The file's room was written with zeros before, so that a sync has no metadata to write.
//!
//! # Guarantees
//! - What was acknowledged is in a frame that was synced. A frame is written only after the frame
//!   before it was synced, and names the position up to which that had been done.
//! - So the end of a log can be told from damage ([`recover`]): a bad frame at or after the highest
//!   position that any whole frame names as synced is a write that nobody was told of; it is
//!   zeroed before the next append. A bad frame below that position was acknowledged once: it is
//!   never cut, and nothing is appended until it is repaired.
//! - Whole frames that no later frame names as synced are written once more and synced before they
//!   are believed: after a sync that failed the kernel may hold pages for clean that never reached
//!   the disk.
//! - A write or a sync that fails ends all writing of this process.
//! - Reading needs to write nothing, and opening reads the newest segment and the tables alone.
//!
//! # What it never does
//! It knows no state and no event, only records with their envelopes; it never changes a byte
//! that a whole frame covers, and never deletes a segment that is not whole in the archive.

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
/// The size of every other, in bytes.
const SIZE: u64 = 8 << 20;

#[cfg(test)]
pub(crate) mod sim;
#[cfg(test)]
mod tests;
