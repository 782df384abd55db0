//! The thread on which leases are taken and renewed.
//!
//! On a runtime that is busy for longer than a lease, the renewal would not run in time, and a healthy
//! process would lose the right to write. So a separate thread drives the connection of each lease, one
//! thread for all journals of the process. [`crate::Held::keep`] still ends the lease of a process that
//! hangs for good.

use std::sync::LazyLock;

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::{AbortHandle, JoinError},
};

static RENEWING: LazyLock<Option<Runtime>> = LazyLock::new(|| {
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).thread_name("leases").enable_all();
    runtime
        .build()
        .inspect_err(|error| tracing::warn!(%error, "leases are renewed beside other work"))
        .ok()
});

/// Runs `work` on that thread; dropping this future aborts it. If the thread cannot be created it runs
/// on the caller's runtime.
///
/// # Errors
/// If it panicked.
pub(crate) async fn on_its_thread<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, JoinError> {
    let handle = RENEWING
        .as_ref()
        .map_or_else(Handle::current, |runtime| runtime.handle().clone());
    let task = handle.spawn(work);
    let _ends = EndsWith(task.abort_handle());
    task.await
}

/// Aborts a task when it is dropped.
struct EndsWith(AbortHandle);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.abort();
    }
}
