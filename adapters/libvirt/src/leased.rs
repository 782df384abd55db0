//! A stream that is written to only while the engine holds its lease.
//!
//! When a stopped process resumes, its buffered bytes would be sent immediately, even long after its lease
//! ended. So the lease is checked here, where bytes leave the process: each write is one check and one system
//! call.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use vsiflow_engine::lease::Lease;

/// A stream and the lease that permits writing to it.
#[derive(Debug)]
pub(crate) struct Leased<S> {
    stream: S,
    lease: Arc<Lease>,
}

impl<S> Leased<S> {
    pub(crate) fn new(stream: S, lease: Arc<Lease>) -> Self {
        Self { stream, lease }
    }

    fn check(&self) -> io::Result<()> {
        self.lease.check().map_err(io::Error::other)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Leased<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Leased<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(Poll::Ready(self.check()))?;
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(Poll::Ready(self.check()))?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use vsiflow_engine::lease::BootInstant;

    use super::*;

    #[tokio::test]
    async fn nothing_is_written_once_the_lease_is_past_and_what_comes_is_still_read() {
        let lease = Lease::new(BootInstant::now(), Duration::from_secs(3_600));
        let (here, mut there) = tokio::io::duplex(64);
        let mut here = Leased::new(here, lease.clone());
        here.write_all(b"before").await.unwrap();
        lease.give_up();
        assert!(here.write_all(b"after").await.is_err());
        there.write_all(b"answer").await.unwrap();
        let mut answer = [0; 6];
        here.read_exact(&mut answer).await.unwrap();
        drop(here);
        let mut seen = String::new();
        there.read_to_string(&mut seen).await.unwrap();
        assert_eq!((seen.as_str(), &answer), ("before", b"answer"));
    }
}
