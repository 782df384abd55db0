//! Runs blocking work on a separate thread.

use crate::exit::ExitProblem;

/// Runs blocking work on a thread for such work.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExitProblem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(ExitProblem::defect)
}
