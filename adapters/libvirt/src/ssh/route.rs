//! The route to a host: direct, or through a chain of jump hosts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use russh::client::Msg;
use russh::{ChannelOpenFailure, ChannelStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use vsiflow_engine::lease::Lease;

use super::client::{SshSession, dial};
use super::{SshConfig, client};
use crate::connect_error::ConnectError;
use crate::leased::Leased;

/// Logs in at each jump host and then at the host: one attempt, each with its own timeout. The session holds
/// the sessions with the jump hosts.
///
/// # Errors
/// The error of the first host that fails; [`ConnectError::JumpHost`] if that is a jump host.
pub(super) async fn connect(
    config: &SshConfig,
    lease: Arc<Lease>,
) -> Result<SshSession, ConnectError> {
    let (mut way, count) = (None, config.jumps.len());
    for (position, jump) in (1..).zip(&config.jumps) {
        let session = client::log_in(jump, way, Arc::clone(&lease)).await;
        way = Some(session.map_err(|error| ConnectError::JumpHost {
            jump: jump.to_string(),
            position,
            count,
            error: Box::new(error),
        })?);
    }
    client::log_in(config, way, lease).await
}

/// A byte stream to a host, which counts what is read and written.
pub(super) struct HostStream {
    line: HostLine,
    traffic: Arc<AtomicU64>,
}

enum HostLine {
    /// A TCP connection from this machine.
    Direct(Leased<TcpStream>),
    /// A channel through the previous jump host.
    Jump(Box<ChannelStream<Msg>>),
}

impl HostStream {
    /// Opens a stream to the host, from this machine or from the previous jump host.
    pub(super) async fn open(
        config: &SshConfig,
        way: Option<&SshSession>,
        lease: Arc<Lease>,
    ) -> Result<Self, ConnectError> {
        let (host, port) = (config.host.as_str(), config.port);
        let line = match way {
            None => HostLine::Direct(Leased::new(dial(host, port).await?, lease)),
            Some(jump) => HostLine::Jump(Box::new(jump.open_jump(host, port).await?)),
        };
        Ok(Self {
            line,
            traffic: Arc::default(),
        })
    }

    /// The number of bytes that were read and written.
    pub(super) fn traffic(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.traffic)
    }

    fn count(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.traffic.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl SshSession {
    /// Opens a channel to another SSH server; the jump host resolves its name.
    async fn open_jump(&self, host: &str, port: u16) -> Result<ChannelStream<Msg>, ConnectError> {
        let address = format!("{host}:{port}");
        let opening = self
            .handle
            .channel_open_direct_tcpip(host, port.into(), "127.0.0.1", 0);
        let error = match opening.await {
            Ok(channel) => return Ok(channel.into_stream()),
            Err(error) => error,
        };
        let jump = self.host.clone();
        Err(match error {
            russh::Error::ChannelOpenFailure(ChannelOpenFailure::AdministrativelyProhibited) => {
                ConnectError::JumpProhibited { jump, address }
            }
            error => ConnectError::Unreachable {
                address,
                message: format!("its jump host {jump} reports: {error}"),
            },
        })
    }
}

/// The deadline of an attempt, shared by its steps.
pub(super) struct AttemptTime<'a> {
    pub(super) config: &'a SshConfig,
    pub(super) deadline: Instant,
}

impl AttemptTime<'_> {
    pub(super) async fn wait<T>(
        &self,
        waiting_for: &'static str,
        what: impl Future<Output = T>,
    ) -> Result<T, ConnectError> {
        let late = |_| ConnectError::TimedOut {
            address: format!("{}:{}", self.config.host, self.config.port),
            waiting_for,
            after: self.config.connect_timeout,
        };
        timeout_at(self.deadline, what).await.map_err(late)
    }
}

impl AsyncRead for HostStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (stream, before) = (self.get_mut(), buf.filled().len());
        let polled = match &mut stream.line {
            HostLine::Direct(line) => Pin::new(line).poll_read(cx, buf),
            HostLine::Jump(line) => Pin::new(line).poll_read(cx, buf),
        };
        stream.count(buf.filled().len().saturating_sub(before));
        polled
    }
}

impl AsyncWrite for HostStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let stream = self.get_mut();
        let written = match &mut stream.line {
            HostLine::Direct(line) => Pin::new(line).poll_write(cx, bytes),
            HostLine::Jump(line) => Pin::new(line).poll_write(cx, bytes),
        };
        if let Poll::Ready(Ok(count)) = &written {
            stream.count(*count);
        }
        written
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().line {
            HostLine::Direct(line) => Pin::new(line).poll_flush(cx),
            HostLine::Jump(line) => Pin::new(line).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().line {
            HostLine::Direct(line) => Pin::new(line).poll_shutdown(cx),
            HostLine::Jump(line) => Pin::new(line).poll_shutdown(cx),
        }
    }
}
