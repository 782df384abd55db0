//! A viewer of a guest's screen.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use crate::{Console, Vsiflow};

/// The version by which a VNC server greets.
const VERSION: &[u8; 12] = b"RFB 003.008\n";
const PATIENCE: Duration = Duration::from_secs(60);

/// `vsiflow vnc` of a VSI, and the address that it announced.
///
/// # Panics
/// When it announces none, or one of another machine.
#[track_caller]
pub fn screen(vsiflow: &Vsiflow, name: &str) -> (Console, SocketAddr) {
    let mut console = Console::piped(vsiflow, &["vnc", name, "--listen-only"]);
    let url = console.line_shown();
    let address: SocketAddr = url.strip_prefix("vnc://").unwrap().parse().unwrap();
    assert!(address.ip().is_loopback() && address.is_ipv4(), "{url}");
    (console, address)
}

/// A connection of a viewer.
pub struct Viewer(TcpStream);

impl Viewer {
    /// Connects, and is greeted and asked for no password.
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
        assert_eq!(security, [1, 1], "one kind of security, none");
        viewer
    }

    /// Connects.
    ///
    /// # Panics
    /// When nobody accepts.
    #[track_caller]
    pub fn to(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Reads to the end of the connection.
    ///
    /// # Panics
    /// When it does not end.
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
