//! One SSH session.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use russh::client::{Config, Handle, Msg};
use russh::{ChannelOpenFailure, ChannelStream, Disconnect, Preferred, cipher, kex};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::host_key::HostKeyVerifier;
use super::route::{self, AttemptTime, HostStream};
use super::{SshConfig, auth, host_key};
use vsiflow_engine::lease::Lease;

use crate::connect_error::ConnectError;
use crate::time;

/// After this much silence the server is sent a keep-alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// After this many keep-alives without a reply the session has ended.
const KEEP_ALIVES: usize = 3;
/// How many bytes the server may send ahead on a channel. It limits a download to this much per round trip.
const WINDOW: u32 = 8 << 20;
/// The largest packet that the server may send; russh accepts no larger ones.
const PACKET: u32 = 65_535;
/// How many packets of a channel wait for their reader.
const CHANNEL_QUEUE: usize = 64;
/// The key exchanges, best first, with the names of extensions. They take milliseconds; the larger Diffie-Hellman
/// groups, and those that the server chooses, take a second of a thread that others need.
const KEY_EXCHANGES: &[kex::Name] = &[
    kex::MLKEM768X25519_SHA256,
    kex::CURVE25519,
    kex::CURVE25519_PRE_RFC_8731,
    kex::ECDH_SHA2_NISTP256,
    kex::ECDH_SHA2_NISTP384,
    kex::ECDH_SHA2_NISTP521,
    kex::DH_G16_SHA512,
    kex::DH_G14_SHA256,
    kex::EXTENSION_SUPPORT_AS_CLIENT,
    kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
];
/// How long the disconnect message may take.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A session that is logged in. When it is dropped, it ends with all its channels.
pub struct SshSession {
    pub(super) handle: Handle<HostKeyVerifier>,
    pub(super) host: String,
    /// The session with the previous jump host, which carries this one.
    way: Option<Box<SshSession>>,
    machine: OnceLock<Option<String>>,
}

impl std::fmt::Debug for SshSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshSession")
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

impl SshSession {
    /// Connects, through jump hosts if there are any, checks the host's key and logs in: one attempt, within
    /// the configured timeout. Nothing is written after the lease has ended.
    ///
    /// Not cancel safe; when this is dropped, the attempt ends.
    ///
    /// # Errors
    /// See [`ConnectError`]; its variants distinguish errors of the network, the host's key and the login.
    pub async fn connect(config: &SshConfig, lease: Arc<Lease>) -> Result<Self, ConnectError> {
        route::connect(config, lease).await
    }

    /// Stores the machine ID that the host reported.
    pub(crate) fn meet(&self, machine: Option<String>) {
        let _ = self.machine.set(machine);
    }

    /// The machine ID that the host reported.
    pub(crate) fn machine(&self) -> Option<&str> {
        self.machine.get()?.as_deref()
    }

    /// Whether the session has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.handle.is_closed()
    }

    /// Opens a channel to a stream socket on the host.
    ///
    /// # Errors
    /// [`ConnectError::ChannelRefused`]: OpenSSH reports no specific reason if the socket is absent, if no
    /// process listens, or if forwarding is forbidden. The session finds the reason.
    pub async fn open_streamlocal(
        &self,
        path: &str,
        within: Duration,
    ) -> Result<ChannelStream<Msg>, ConnectError> {
        let opening = self.handle.channel_open_direct_streamlocal(path);
        match timeout(within, opening).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(error)) => Err(self.channel_refused(path, &error)),
            Err(_) => Err(self.late("opening a channel", within)),
        }
    }

    /// Opens a channel to a TCP port that the host can reach.
    ///
    /// # Errors
    /// [`ConnectError::ForwardingProhibited`] if sshd forbids it, [`ConnectError::ChannelRefused`] if the
    /// connection is refused.
    pub async fn open_tcp(
        &self,
        address: IpAddr,
        port: u16,
        within: Duration,
    ) -> Result<ChannelStream<Msg>, ConnectError> {
        let (address, from) = (address.to_string(), "127.0.0.1");
        let opening = self
            .handle
            .channel_open_direct_tcpip(address.clone(), port.into(), from, 0);
        match timeout(within, opening).await {
            Ok(Ok(channel)) => Ok(channel.into_stream()),
            Ok(Err(error)) => Err(self.channel_refused(&format!("{address} port {port}"), &error)),
            Err(_) => Err(self.late("a guest to answer", within)),
        }
    }

    /// Opens a channel for a command.
    pub(super) async fn open_session(
        &self,
        within: Duration,
    ) -> Result<russh::Channel<Msg>, ConnectError> {
        match timeout(within, self.handle.channel_open_session()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => Err(self.channel_refused("a command", &error)),
            Err(_) => Err(self.late("opening a channel", within)),
        }
    }

    pub(super) fn late(&self, waiting_for: &'static str, after: Duration) -> ConnectError {
        ConnectError::TimedOut {
            address: self.host.clone(),
            waiting_for,
            after,
        }
    }

    fn channel_refused(&self, path: &str, error: &russh::Error) -> ConnectError {
        let (host, path) = (self.host.clone(), path.to_owned());
        match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
                ConnectError::ForwardingProhibited { host, path }
            }
            russh::Error::ChannelOpenFailure(_) => ConnectError::ChannelRefused {
                host,
                path,
                message: error.to_string(),
            },
            _ => ConnectError::Ssh {
                host,
                message: error.to_string(),
            },
        }
    }

    /// Ends the session gracefully.
    pub async fn close(&self) {
        let disconnecting = self.handle.disconnect(Disconnect::ByApplication, "", "en");
        let _ = timeout(DISCONNECT_TIMEOUT, disconnecting).await;
        // This disconnect passes through the sessions with jump hosts, so those are closed later.
        if let Some(way) = &self.way {
            Box::pin(way.close()).await;
        }
    }
}

/// Logs in at one host, through the session with the previous jump host if there is one.
pub(super) async fn log_in(
    config: &SshConfig,
    way: Option<SshSession>,
    lease: Arc<Lease>,
) -> Result<SshSession, ConnectError> {
    let known_host = host_key::known_host(config).await?;
    let deadline = time::deadline(config.connect_timeout);
    let patience = AttemptTime { config, deadline };
    let line = HostStream::open(config, way.as_ref(), lease);
    let line = patience.wait("connecting", line).await??;
    let verifier = HostKeyVerifier::new(config, known_host, line.traffic());
    let settings = Arc::new(settings(&verifier));
    let greeting = russh::client::connect_stream(settings, line, verifier);
    let mut handle = patience
        .wait("the SSH handshake", greeting)
        .await?
        .map_err(|error| error.into_connect_error(&config.host))?;
    let login = auth::log_in(&mut handle, config);
    patience.wait("logging in", login).await??;
    Ok(SshSession {
        handle,
        host: config.host.clone(),
        way: way.map(Box::new),
        machine: OnceLock::new(),
    })
}

/// Connects to the first address that accepts the connection.
pub(super) async fn dial(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let unknown = |message: String| ConnectError::UnknownHost {
        host: host.to_owned(),
        message,
    };
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port))
        .await
        .map_err(|error| unknown(error.to_string()))?
        .collect();
    let mut last = unknown("the resolver names none".to_owned());
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(socket) => {
                // Small packets must not wait for more data (Nagle's algorithm).
                let _ = socket.set_nodelay(true);
                return Ok(socket);
            }
            Err(error) => {
                let tried = format!("{host}:{port}");
                last = ConnectError::Unreachable {
                    address: tried,
                    message: error.to_string(),
                };
            }
        }
    }
    Err(last)
}

fn settings(verifier: &HostKeyVerifier) -> Config {
    Config {
        window_size: WINDOW,
        maximum_packet_size: PACKET,
        channel_buffer_size: CHANNEL_QUEUE,
        keepalive_interval: Some(KEEP_ALIVE),
        keepalive_max: KEEP_ALIVES,
        nodelay: true,
        preferred: Preferred {
            kex: Cow::Borrowed(KEY_EXCHANGES),
            cipher: Cow::Borrowed(ciphers(has_aes())),
            key: Cow::Owned(verifier.key_algorithms()),
            host_key_certificates: Cow::Borrowed(verifier.certificate_algorithms()),
            // Compressing data that is already compressed costs more than it saves.
            compression: Cow::Borrowed(&[russh::compression::NONE]),
            ..Preferred::DEFAULT
        },
        ..Config::default()
    }
}

/// The ciphers, the fastest one here first: the server uses the first one that it supports too.
fn ciphers(aes: bool) -> &'static [cipher::Name] {
    if aes {
        &[
            cipher::AES_128_GCM,
            cipher::AES_256_GCM,
            cipher::CHACHA20_POLY1305,
            cipher::AES_256_CTR,
            cipher::AES_128_CTR,
        ]
    } else {
        &[
            cipher::CHACHA20_POLY1305,
            cipher::AES_128_GCM,
            cipher::AES_256_GCM,
            cipher::AES_128_CTR,
            cipher::AES_256_CTR,
        ]
    }
}

/// Whether this processor has instructions for AES-GCM that the implementation uses.
fn has_aes() -> bool {
    #[cfg(target_arch = "x86_64")]
    let has = std::is_x86_feature_detected!("aes") && std::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    has
}
