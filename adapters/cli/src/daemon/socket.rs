//! The socket in a state directory, on which the process that has it answers.

use std::path::{Path, PathBuf};

/// The path of the socket.
pub(crate) fn socket(state: &Path) -> PathBuf {
    state.join("vsiflow.sock")
}

/// Whether the process that has the state directory answers other commands.
pub(crate) fn is_answering(state: &Path) -> bool {
    socket(state).exists()
}
