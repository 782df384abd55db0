//! The plan of a repair for each segment of a log.

use super::fill::FillItem;
use crate::journal::{
    BatchLink, Offset,
    log::{frame::FramePart, header::SegmentHeader},
};

/// How one segment is repaired.
pub(super) enum RepairPlan {
    /// Some of its bytes are replaced; all others stay where they are.
    Patch {
        header: SegmentHeader,
        bytes: Vec<u8>,
        patches: Vec<Patch>,
        aside: Vec<String>,
    },
    /// A new segment is written.
    New(New),
    /// Another segment already contains all of it, so its files are only set aside.
    Leftover { aside: Vec<String> },
}

/// A range of bytes of a segment, and the items that replace it.
pub(super) struct Patch {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) items: Vec<FillItem>,
    /// The number of the finding that it repairs.
    pub(super) finding: usize,
}

/// A new segment in place of lost ones.
pub(super) struct New {
    pub(super) first: Offset,
    pub(super) before: Option<BatchLink>,
    /// The position in the log where the previous segment ends.
    pub(super) position: u64,
    /// The position in the log where the next segment begins; none if there is none.
    pub(super) until: Option<u64>,
    pub(super) bases: Vec<(FramePart, Vec<u8>)>,
    pub(super) items: Vec<FillItem>,
    pub(super) finding: usize,
    pub(super) aside: Vec<String>,
}
