//! The screen of a simulated guest: it completes the VNC handshake and asks for no password.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use crate::ports::{GuestConsole, ScreenStream};

/// The protocol version that a server sends first.
const VERSION: &[u8] = b"RFB 003.008\n";
/// One security type: none.
const SECURITY: &[u8] = &[1, 1];

/// Opens a connection to a screen. Its server ends with it.
pub(super) fn open() -> Box<dyn GuestConsole> {
    let (ours, theirs) = tokio::io::duplex(4096);
    tokio::spawn(serve(theirs));
    Box::new(ScreenStream::new(Box::new(ours)))
}

async fn serve(mut stream: DuplexStream) -> std::io::Result<()> {
    stream.write_all(VERSION).await?;
    let mut version = [0; VERSION.len()];
    stream.read_exact(&mut version).await?;
    stream.write_all(SECURITY).await?;
    // Nothing is drawn; requests are read until the connection ends.
    tokio::io::copy(&mut stream, &mut tokio::io::sink())
        .await
        .map(drop)
}
