//! Work that blocks, on a thread made for it.

use crate::exit::ExitProblem;

/// Does what blocks on a thread made for it.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExitProblem> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(ExitProblem::defect)
}
