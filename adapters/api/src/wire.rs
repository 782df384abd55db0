//! What a connection changes to for a console, and its bytes between it and two bounded queues.

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};
use vsiflow_workflows::fleet::ConsoleWay;

/// The longest piece that is read at once, in bytes.
const PIECE: usize = 16 * 1024;
/// Pieces that wait each way.
const PIECES: usize = 4;

/// What the connection changes to.
pub(crate) fn protocol(way: ConsoleWay) -> &'static str {
    match way {
        ConsoleWay::Serial => Serial::NAME,
        ConsoleWay::Vnc => Vnc::NAME,
    }
}

/// A protocol that a connection changes to.
pub(crate) trait ChangedTo: Send {
    /// Its name in a request.
    const NAME: &'static str;
}

/// The bytes of a serial console.
pub(crate) struct Serial;

impl ChangedTo for Serial {
    const NAME: &'static str = "vsiflow-console";
}

/// The bytes of VNC.
pub(crate) struct Vnc;

impl ChangedTo for Vnc {
    const NAME: &'static str = "vsiflow-vnc";
}

/// A queue of pieces.
#[must_use]
pub fn queue() -> (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>) {
    mpsc::channel(PIECES)
}

/// Carries bytes both ways until the connection ends, or a queue does; what is in `to_it` then was
/// written. Dropped, the connection is closed.
pub async fn both_ways<S: AsyncRead + AsyncWrite>(
    connection: S,
    from_it: mpsc::Sender<Bytes>,
    mut to_it: mpsc::Receiver<Bytes>,
) {
    let (mut read, mut write) = tokio::io::split(connection);
    let reading = async {
        let mut piece = BytesMut::with_capacity(PIECE);
        // Its end and its failure mean the same: nothing more comes.
        while let Ok(1..) = read.read_buf(&mut piece).await {
            if from_it.send(piece.split().freeze()).await.is_err() {
                return;
            }
            piece.reserve(PIECE);
        }
    };
    let writing = async {
        while let Some(bytes) = to_it.recv().await {
            if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                return;
            }
        }
        let _ = write.shutdown().await;
    };
    tokio::select! {
        () = reading => {}
        () = writing => {}
        () = from_it.closed() => {}
    }
}
