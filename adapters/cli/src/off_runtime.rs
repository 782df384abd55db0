//! Runs blocking work on a separate thread.

use vsiflow_engine::low_priority;

use crate::{actor, exit::ExitProblem};

/// Runs blocking work on a thread for such work. Work for a caller, who chose how long it takes, gives way to all other work of
/// this process.
pub(crate) async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, ExitProblem> {
    let is_for_caller = actor::caller().is_some();
    let done = tokio::task::spawn_blocking(move || {
        if is_for_caller {
            low_priority::run(work)
        } else {
            work()
        }
    });
    done.await.map_err(ExitProblem::defect)
}
