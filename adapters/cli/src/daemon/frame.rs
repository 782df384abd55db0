//! What goes over the socket: a command line one way, output and an exit code the other.

use std::io;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use vsiflow_workflows::spec::Directory;

/// The largest frame, in bytes.
const MAX: u32 = 1024 * 1024;

/// The most that a caller may send of files, in bytes.
pub(super) const FILES_MAX: u64 = 64 * 1024 * 1024;

/// A command line, as the caller typed it, and the files it names.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) version: u32,
    pub(super) args: Vec<String>,
    /// Name and length of each file; their bytes follow, one after another.
    pub(super) files: Vec<(String, u64)>,
    /// The caller's directory that the files are in, where that is the only one it named.
    pub(super) directory: Option<Directory>,
}

/// The version of these frames; another one is not understood.
pub(super) const VERSION: u32 = 3;

/// A piece of the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DaemonFrame {
    Out(Vec<u8>),
    Err(Vec<u8>),
    Exit(u8),
}

impl DaemonFrame {
    fn parts(&self) -> (u8, &[u8]) {
        match self {
            Self::Out(bytes) => (1, bytes),
            Self::Err(bytes) => (2, bytes),
            Self::Exit(code) => (3, std::slice::from_ref(code)),
        }
    }
}

/// Writes bytes with their length before them.
pub(super) async fn write_block(
    to: &mut (impl AsyncWrite + Unpin),
    kind: u8,
    bytes: &[u8],
) -> io::Result<()> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    to.write_u8(kind).await?;
    to.write_u32(length).await?;
    to.write_all(bytes).await?;
    to.flush().await
}

/// Reads bytes with their length before them.
pub(super) async fn read_block(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let kind = from.read_u8().await?;
    let length = from.read_u32().await?;
    if length > MAX {
        return Err(io::Error::other("a frame is too long"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    from.read_exact(&mut bytes).await?;
    Ok((kind, bytes))
}

/// Writes a frame; long output goes in pieces.
pub(super) async fn write(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &DaemonFrame,
) -> io::Result<()> {
    let (kind, bytes) = frame.parts();
    for piece in bytes.chunks(64 * 1024) {
        write_block(to, kind, piece).await?;
    }
    Ok(())
}

/// Reads a frame.
pub(super) async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<DaemonFrame> {
    let (kind, bytes) = read_block(from).await?;
    match (kind, bytes.first()) {
        (1, _) => Ok(DaemonFrame::Out(bytes)),
        (2, _) => Ok(DaemonFrame::Err(bytes)),
        (3, Some(code)) => Ok(DaemonFrame::Exit(*code)),
        _ => Err(io::Error::other("a frame of an unknown kind")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_read_back_as_written() {
        let long = vec![7; 200_000];
        let mut wire = Vec::new();
        for frame in [
            DaemonFrame::Out(long.clone()),
            DaemonFrame::Err(b"e".to_vec()),
            DaemonFrame::Exit(4),
        ] {
            write(&mut wire, &frame).await.unwrap();
        }
        let mut from = wire.as_slice();
        let mut out = Vec::new();
        while let DaemonFrame::Out(piece) = read(&mut from).await.unwrap() {
            out.extend(piece);
        }
        assert_eq!(out, long);
        assert_eq!(read(&mut from).await.unwrap(), DaemonFrame::Exit(4));
        assert!(read(&mut from).await.is_err());
    }

    #[tokio::test]
    async fn a_hostile_length_is_refused() {
        let mut from: &[u8] = &[1, 0xff, 0xff, 0xff, 0xff, 0];
        assert!(read(&mut from).await.is_err());
    }
}
