//! What the check of one input may cost, however it repeats, packs or nests itself.

use std::cell::Cell;

use super::InputProblem;

/// The most bytes that are unpacked and read, all parts together. cloud-init takes 16 KiB from the disk, and what
/// that unpacks to in earnest is shorter.
const BYTES_MAX: usize = 2 << 20;
/// The most parts of messages and entries of archives, all levels together.
const PARTS_MAX: usize = 256;

/// What is left to the check of one input.
pub(super) struct CheckBudget {
    bytes: Cell<usize>,
    parts: Cell<usize>,
}

impl CheckBudget {
    pub(super) fn new() -> Self {
        Self {
            bytes: Cell::new(BYTES_MAX),
            parts: Cell::new(PARTS_MAX),
        }
    }

    pub(super) fn bytes_left(&self) -> usize {
        self.bytes.get()
    }

    /// Takes a text that is unpacked or read.
    ///
    /// # Errors
    ///
    /// The doubt about an input that is too large, here and at each later call.
    pub(super) fn take_bytes(&self, count: usize) -> Result<(), InputProblem> {
        take(&self.bytes, count)
    }

    /// Takes one part of a message, or one entry of an archive.
    ///
    /// # Errors
    ///
    /// As for [`Self::take_bytes`].
    pub(super) fn take_part(&self) -> Result<(), InputProblem> {
        take(&self.parts, 1)
    }
}

fn take(left: &Cell<usize>, count: usize) -> Result<(), InputProblem> {
    let rest = left.get().checked_sub(count);
    left.set(rest.unwrap_or_default());
    rest.map(drop).ok_or_else(too_large)
}

/// The doubt about an input of which a part was not looked at.
pub(super) fn too_large() -> InputProblem {
    InputProblem {
        is_doubt: true,
        ..InputProblem::new(
            "it unpacks to more, has more parts or repeats more than is checked",
            "write it without aliases and packed parts, or in fewer parts",
        )
    }
}
