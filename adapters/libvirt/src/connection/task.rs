//! The task that owns a connection's socket: it reads, it writes, it keeps alive, all at once, and
//! whichever of the three ends first ends the connection.

mod keep_alive;
mod reading;
mod writing;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};

use super::shared::{Command, Shared};
use crate::error::CloseReason;
use keep_alive::keep_alive;
use reading::Reading;
use writing::Writing;

/// Runs a connection to its end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    queue: mpsc::Receiver<Command>,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
) {
    let (read, write) = tokio::io::split(stream);
    let mut reading = Reading::new(read, &shared);
    let mut writing = Writing::new(write, queue, &shared);
    let reason = tokio::select! {
        reason = reading.run() => reason,
        reason = writing.run() => reason,
        reason = keep_alive(&shared) => reason,
    };
    // Told of the end, libvirt may be the first to close.
    let reason = if shared.is_parting() {
        CloseReason::ByUs
    } else {
        reason
    };
    tracing::debug!(%reason, "libvirt connection ended");
    // In this order: who finds the queue closed asks for the reason.
    shared.end(&reason);
    places.close();
}
