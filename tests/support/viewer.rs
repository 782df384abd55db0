//! A VNC client that connects to a guest's screen.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{TestConsole, Vsiflow};

/// The protocol version that a VNC server sends first.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts `vsiflow vnc` for a VSI, and returns it with the address that it printed.
///
/// # Panics
/// When it prints no address, or one that is not IPv4 loopback.
#[track_caller]
pub fn screen(vsiflow: &Vsiflow, name: &str) -> (TestConsole, SocketAddr) {
    let mut console = TestConsole::piped(vsiflow, &["vnc", name, "--listen-only"]);
    let url = console.line_shown();
    let address: SocketAddr = url.strip_prefix("vnc://").unwrap().parse().unwrap();
    assert!(address.ip().is_loopback() && address.is_ipv4(), "{url}");
    (console, address)
}

/// A connection of a VNC client.
pub struct Viewer(TcpStream);

impl Viewer {
    /// Connects, exchanges versions and expects that the server asks for no password.
    ///
    /// # Panics
    /// When the server does otherwise.
    #[track_caller]
    pub fn greeted(address: SocketAddr) -> Self {
        let mut viewer = Self::to(address);
        let mut version = [0; VERSION.len()];
        viewer.0.read_exact(&mut version).unwrap();
        assert_eq!(&version, VERSION);
        viewer.0.write_all(VERSION).unwrap();
        let mut security = [0; 2];
        viewer.0.read_exact(&mut security).unwrap();
        assert_eq!(security, [1, 1], "not only security type None");
        viewer
    }

    /// Connects.
    ///
    /// # Panics
    /// When no process accepts the connection.
    #[track_caller]
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Reads until the server closes the connection.
    ///
    /// # Panics
    /// When it is not closed within 60 s.
    #[track_caller]
    pub fn is_left(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.0.read(&mut rest) {
                Ok(1..) => {}
                Err(error) if error.kind() != std::io::ErrorKind::ConnectionReset => {
                    panic!("the connection stays open: {error}")
                }
                _ => return,
            }
        }
    }
}
