//! Connects to a guest's screen and carries its bytes both ways.

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
};

use super::{GuestConsole, GuestStream, PortResult};

/// Maximum number of bytes in one read.
const PIECE: usize = 16 * 1024;

/// A connection to a guest's screen. Dropping it closes it.
pub struct ScreenStream {
    stream: Box<dyn GuestStream>,
}

impl ScreenStream {
    /// The screen at the other end of this stream.
    pub fn new(stream: Box<dyn GuestStream>) -> Self {
        Self { stream }
    }
}

#[async_trait]
impl GuestConsole for ScreenStream {
    async fn carry(
        self: Box<Self>,
        mut keys: mpsc::Receiver<Bytes>,
        shown: mpsc::Sender<Bytes>,
    ) -> PortResult<()> {
        let (mut read, mut write) = tokio::io::split(self.stream);
        let showing = async {
            let mut piece = BytesMut::with_capacity(PIECE);
            // Its end and an error mean the same: nothing more is shown.
            while let Ok(1..) = read.read_buf(&mut piece).await {
                if shown.send(piece.split().freeze()).await.is_err() {
                    return;
                }
                piece.reserve(PIECE);
            }
        };
        let typing = async {
            while let Some(bytes) = keys.recv().await {
                if write.write_all(&bytes).await.is_err() || write.flush().await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = showing => {}
            () = typing => {}
            () = shown.closed() => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bytes_go_both_ways_until_the_caller_leaves() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let (typed, keys) = mpsc::channel(1);
        let (output, mut shown) = mpsc::channel(1);
        let carried = tokio::spawn(Box::new(ScreenStream::new(Box::new(ours))).carry(keys, output));
        theirs.write_all(b"RFB 003.008\n").await.unwrap();
        assert_eq!(shown.recv().await.unwrap(), "RFB 003.008\n");
        typed.send(Bytes::from_static(b"ok")).await.unwrap();
        let mut received = [0; 2];
        theirs.read_exact(&mut received).await.unwrap();
        assert_eq!(&received, b"ok");
        drop(typed);
        carried.await.unwrap().unwrap();
        assert_eq!(theirs.read(&mut received).await.unwrap(), 0, "it is closed");
    }
}
