//! Errors of sparse files.

use vsiflow_steps::ports::{SourceError, SourceErrorKind};

use super::{SparseForm, map::MAX_BLOCKS};
use crate::error::{ShownError, error};

/// Why a sparse file cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SparseFault {
    #[error("is damaged: {0}")]
    Wrong(&'static str),
    #[error("needs another file: it has a parent, or other extents")]
    NotAlone,
    #[error("ends before something that its tables name")]
    Short,
    #[error(
        "was not closed, so that its last writes are not in their place; shut down what uses it, or open \
         and close it once with the program that wrote it (of a VHDX: `qemu-img check -r all FILE`)"
    )]
    Open,
    #[error("has a disk with sectors of 4096 bytes, guests here have 512")]
    Sectors,
    #[error("has more than {MAX_BLOCKS} blocks")]
    Blocks,
}

/// Why a part of the file was not read.
#[derive(Debug)]
pub(super) enum Unread {
    Fault(SparseFault),
    Source(SourceError),
}

impl From<SparseFault> for Unread {
    fn from(fault: SparseFault) -> Self {
        Self::Fault(fault)
    }
}

impl From<SourceError> for Unread {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl Unread {
    pub(super) fn explained(self, form: SparseForm, shown: &ShownError) -> SourceError {
        match self {
            Self::Source(error) if error.kind == SourceErrorKind::Appliance => {
                form.refused(shown, &error.message)
            }
            Self::Source(error) => error,
            Self::Fault(fault) => {
                let message = format!("the {} {fault}", form.name());
                error(SourceErrorKind::Appliance, shown, message)
            }
        }
    }
}
