//! The protocols of console connections, and the transfer of bytes between a connection and two bounded
//! queues.

use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
};
use vsiflow_workflows::fleet::ConsoleWay;

/// The maximum length of a piece that is read at once, in bytes.
const PIECE: usize = 16 * 1024;
/// Pieces that may wait in each direction.
const PIECES: usize = 4;

/// The protocol that the connection is upgraded to.
pub(crate) fn protocol(way: ConsoleWay) -> &'static str {
    match way {
        ConsoleWay::Serial => Serial::NAME,
        ConsoleWay::Vnc => Vnc::NAME,
    }
}

/// A protocol that a connection is upgraded to.
pub(crate) trait ChangedTo: Send {
    /// Its name in the `Upgrade` header.
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

/// Transfers bytes in both directions until the connection or a queue ends; everything in `to_it` is
/// written before that. Dropping it closes the connection.
pub async fn both_ways<S: AsyncRead + AsyncWrite>(
    connection: S,
    from_it: mpsc::Sender<Bytes>,
    mut to_it: mpsc::Receiver<Bytes>,
) {
    let (mut read, mut write) = tokio::io::split(connection);
    let reading = async {
        let mut piece = BytesMut::with_capacity(PIECE);
        // End of stream and error mean the same: nothing more will arrive.
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
