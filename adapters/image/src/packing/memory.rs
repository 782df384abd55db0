//! Gives the right to use much memory to one image at a time.

use std::io;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{MEMORY, Outlet};

/// The right to use [`LARGE_MEMORY`](super::LARGE_MEMORY).
static LARGE: Semaphore = Semaphore::const_new(1);
/// How long an archive waits for that right. After that its upload is tried again later.
const LARGE_WAIT: Duration = Duration::from_secs(60);

/// Waits for the right to use much memory; `None` if nobody reads the image any more, or after a while.
pub(super) async fn turn(to: &Outlet) -> Option<SemaphorePermit<'static>> {
    tokio::select! {
        turn = LARGE.acquire() => turn.ok(),
        () = to.give.closed() => None,
        () = tokio::time::sleep(LARGE_WAIT) => {
            let _ = to.give.send(Err(io::Error::other(MemoryBusy))).await;
            None
        }
    }
}

/// The error when other archives use the memory that this one needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "unpacking it needs more than {} MiB of memory, which only one image at a time may use, and another does",
    MEMORY / 1024 / 1024
)]
pub(super) struct MemoryBusy;
