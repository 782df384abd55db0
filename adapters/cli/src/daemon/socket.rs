//! The socket of a state directory, by which its holder answers others.

use std::path::{Path, PathBuf};

/// Where it is.
pub(crate) fn socket(state: &Path) -> PathBuf {
    state.join("vsiflow.sock")
}

/// Whether the holder of the state directory answers for others.
pub(crate) fn is_answering(state: &Path) -> bool {
    socket(state).exists()
}
