//! The thread that leases are taken and renewed on.
//!
//! A runtime that is busy for longer than a lease would cost its process the right to write, though
//! nothing is wrong with it: the renewal would not get its turn. So the connection of each lease is
//! driven by a thread that does nothing else, one for all journals of the process. A process that
//! hangs for good is another matter: [`crate::Held::keep`] ends its lease.

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

/// Runs something there; dropping what waits for it ends it. Where no thread can be made it runs
/// on the caller's runtime.
///
/// # Errors
/// When it panicked.
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

/// Ends a task when it is dropped.
struct EndsWith(AbortHandle);

impl Drop for EndsWith {
    fn drop(&mut self) {
        self.0.abort();
    }
}
