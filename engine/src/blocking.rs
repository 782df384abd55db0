//! Runs blocking work outside the runtime's threads.

use crate::journal::JournalError;

/// Runs `work` on one of the runtime's threads for blocking work.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    let ended = |e: tokio::task::JoinError| {
        Err(if e.is_cancelled() {
            JournalError::Closed
        } else {
            JournalError::Storage(format!("the store panicked: {e}"))
        })
    };
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(ended)
}
