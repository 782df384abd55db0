//! What [`crate::group_commit`] waits and wakes with. Its model puts shuttle's in the place of
//! these and tries the orders in which threads may run.

pub(crate) use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    thread::{Builder, JoinHandle},
};

pub(crate) use tokio::sync::{mpsc, oneshot, watch};

/// Waits for a thread without holding up the runtime. Its panic, if any, is dropped.
pub(crate) async fn join(thread: JoinHandle<()>) {
    let _ = tokio::task::spawn_blocking(|| thread.join()).await;
}
