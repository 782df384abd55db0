//! Why a layer of an image in a registry cannot be used.

use crate::archive::MAX_HEADERS_LEN;

/// How many files a layer may have.
pub(super) const MAX_FILES: usize = 100_000;

/// Why a layer cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnfitLayer {
    #[error("a layer names a file outside of its folder")]
    Outside,
    #[error("/disk has more than one file")]
    Several,
    #[error("what is in /disk is {0}, not a regular file")]
    Kind(&'static str),
    #[error("a later layer of the image deletes its disk")]
    Deleted,
    #[error("a layer has more than {MAX_FILES} files")]
    Files,
    #[error("the headers of a file in a layer are longer than {MAX_HEADERS_LEN} bytes")]
    Headers,
}
