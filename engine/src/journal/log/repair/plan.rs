//! What a repair is to do with each segment of a log.

use super::fill::FillItem;
use crate::journal::{
    BatchLink, Offset,
    log::{frame::FramePart, header::SegmentHeader},
};

/// What is to be done about one segment.
pub(super) enum RepairPlan {
    /// Some of its bytes are replaced; all others stay where they are.
    Patch {
        header: SegmentHeader,
        bytes: Vec<u8>,
        patches: Vec<Patch>,
        aside: Vec<String>,
    },
    /// It is made anew.
    New(New),
    /// Another segment holds all of it already.
    Leftover { aside: Vec<String> },
}

/// Bytes of a segment and what comes in their place.
pub(super) struct Patch {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) items: Vec<FillItem>,
    /// The number of the finding.
    pub(super) finding: usize,
}

/// A segment in the place of lost ones.
pub(super) struct New {
    pub(super) first: Offset,
    pub(super) before: Option<BatchLink>,
    /// Where the segment before it ends.
    pub(super) position: u64,
    /// Where the one after it begins.
    pub(super) until: Option<u64>,
    pub(super) bases: Vec<(FramePart, Vec<u8>)>,
    pub(super) items: Vec<FillItem>,
    pub(super) finding: usize,
    pub(super) aside: Vec<String>,
}
