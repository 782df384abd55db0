//! The task that owns a connection's socket. It reads, writes and sends keep-alives concurrently; the first
//! of the three that ends also ends the connection.

mod keep_alive;
mod reading;
mod writing;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, mpsc};

use super::shared::{ConnectionCommand, ConnectionShared};
use crate::error::CloseReason;
use keep_alive::keep_alive;
use reading::IncomingPackets;
use writing::OutgoingPackets;

/// Runs a connection to its end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Send + 'static>(
    stream: S,
    queue: mpsc::Receiver<ConnectionCommand>,
    shared: Arc<ConnectionShared>,
    places: Arc<Semaphore>,
) {
    let (read, write) = tokio::io::split(stream);
    let mut reading = IncomingPackets::new(read, &shared);
    let mut writing = OutgoingPackets::new(write, queue, &shared);
    // Dropped before the queue: a caller that finds the queue closed reads the reason.
    let mut end = TaskEnd {
        shared: &shared,
        places: &places,
        reason: CloseReason::Io("its task ended in a panic; please report it".to_owned()),
    };
    let reason = tokio::select! {
        reason = reading.run() => reason,
        reason = writing.run() => reason,
        reason = keep_alive(&shared) => reason,
    };
    // libvirt was asked to close, so it may close its side first.
    end.reason = if shared.is_parting() {
        CloseReason::ByUs
    } else {
        reason
    };
    tracing::debug!(reason = %end.reason, "libvirt connection ended");
}

/// Ends the connection when it is dropped, also after a panic: a connection that nothing reads from must not
/// be used.
struct TaskEnd<'a> {
    shared: &'a ConnectionShared,
    places: &'a Semaphore,
    reason: CloseReason,
}

impl Drop for TaskEnd<'_> {
    fn drop(&mut self) {
        self.shared.end(&self.reason);
        self.places.close();
    }
}
