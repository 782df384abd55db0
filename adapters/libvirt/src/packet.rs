//! Packets: a length, six numbers, a payload (libvirt `src/rpc/virnetprotocol.x`).
//!
//! The length includes itself. It is checked against libvirt's own limit before any byte is stored, and
//! memory grows with the received bytes, not with the announced length. How much memory the packets of all
//! connections may have together is decided in `connection::memory`.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The size of the length field in bytes.
const LENGTH_SIZE: usize = 4;
/// The size of the header after the length field in bytes (`VIR_NET_MESSAGE_HEADER_MAX`).
const HEADER_SIZE: usize = 24;
/// The size of length field and header together.
pub(crate) const PREFIX_SIZE: usize = LENGTH_SIZE + HEADER_SIZE;
/// The largest message without its length field (`VIR_NET_MESSAGE_MAX`, 32 MiB).
const MESSAGE_MAX: usize = 33_554_432;
/// The largest payload of a call (`VIR_NET_MESSAGE_PAYLOAD_MAX`).
pub(crate) const PAYLOAD_MAX: usize = MESSAGE_MAX - HEADER_SIZE;
/// The largest payload of a stream packet that every server accepts (`VIR_NET_MESSAGE_LEGACY_PAYLOAD_MAX`;
/// servers before 1.0.6 refuse more).
pub const STREAM_PAYLOAD_MAX: usize = 262_120;
/// By how much the buffer grows at a time while a packet arrives.
const READ_STEP: usize = PREFIX_SIZE + STREAM_PAYLOAD_MAX;

/// The six numbers of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PacketHeader {
    pub(crate) program: u32,
    pub(crate) version: u32,
    pub(crate) procedure: i32,
    pub(crate) kind: i32,
    pub(crate) serial: u32,
    pub(crate) status: i32,
}

/// `virNetMessageType`.
pub(crate) mod kind {
    pub(crate) const CALL: i32 = 0;
    pub(crate) const REPLY: i32 = 1;
    pub(crate) const MESSAGE: i32 = 2;
    pub(crate) const STREAM: i32 = 3;
    pub(crate) const STREAM_HOLE: i32 = 6;
}

/// `virNetMessageStatus`.
pub(crate) mod status {
    pub(crate) const OK: i32 = 0;
    pub(crate) const ERROR: i32 = 1;
    pub(crate) const CONTINUE: i32 = 2;
}

/// A complete received packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) header: PacketHeader,
    pub(crate) payload: Bytes,
}

/// Why no further packet can be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("the peer closed the connection")]
    Closed,
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("a packet announces {0} bytes, allowed are {PREFIX_SIZE} to {MESSAGE_MAX}")]
    Length(u32),
}

/// Appends a packet to a buffer, so that it can be written in one piece.
///
/// Returns `false` if the payload is larger than [`PAYLOAD_MAX`], which is an error of the caller.
#[must_use]
pub(crate) fn encode(header: &PacketHeader, payload: &[u8], out: &mut BytesMut) -> bool {
    let Some(length) = PREFIX_SIZE
        .checked_add(payload.len())
        .filter(|_| payload.len() <= PAYLOAD_MAX)
    else {
        return false;
    };
    let Ok(word) = u32::try_from(length) else {
        return false;
    };
    out.reserve(length);
    out.put_u32(word);
    out.put_u32(header.program);
    out.put_u32(header.version);
    out.put_i32(header.procedure);
    out.put_i32(header.kind);
    out.put_u32(header.serial);
    out.put_i32(header.status);
    out.put_slice(payload);
    true
}

/// Takes one packet from the front of a buffer, if it is complete.
fn decode(buffer: &mut BytesMut) -> Result<Option<Packet>, ReadError> {
    let Some(length) = announced(buffer)? else {
        return Ok(None);
    };
    if buffer.len() < length {
        return Ok(None);
    }
    let mut packet = buffer.split_to(length).freeze();
    packet.advance(LENGTH_SIZE);
    let header = PacketHeader {
        program: packet.get_u32(),
        version: packet.get_u32(),
        procedure: packet.get_i32(),
        kind: packet.get_i32(),
        serial: packet.get_u32(),
        status: packet.get_i32(),
    };
    Ok(Some(Packet {
        header,
        payload: packet,
    }))
}

/// The announced length at the front of a buffer, if it is within the limits.
fn announced(buffer: &BytesMut) -> Result<Option<usize>, ReadError> {
    let Some(word) = buffer.first_chunk::<LENGTH_SIZE>() else {
        return Ok(None);
    };
    let word = u32::from_be_bytes(*word);
    match usize::try_from(word) {
        Ok(length) if (PREFIX_SIZE..=LENGTH_SIZE + MESSAGE_MAX).contains(&length) => {
            Ok(Some(length))
        }
        _ => Err(ReadError::Length(word)),
    }
}

/// Reads packets from a byte stream.
#[derive(Debug)]
pub(crate) struct PacketReader<R> {
    inner: R,
    buffer: BytesMut,
}

impl<R: AsyncRead + Unpin> PacketReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self {
            inner,
            buffer: BytesMut::new(),
        }
    }

    /// Reads the next packet. `on_read` is called whenever bytes arrive.
    ///
    /// Cancel safe: received bytes stay in the buffer.
    pub(crate) async fn next(&mut self, on_read: impl Fn()) -> Result<Packet, ReadError> {
        loop {
            if let Some(packet) = self.take()? {
                return Ok(packet);
            }
            self.read_more(&on_read).await?;
        }
    }

    /// Waits until the length of the next packet is there, and returns it. Cancel safe.
    pub(crate) async fn announced(&mut self, on_read: impl Fn()) -> Result<usize, ReadError> {
        loop {
            if let Some(length) = announced(&self.buffer)? {
                return Ok(length);
            }
            self.read_more(&on_read).await?;
        }
    }

    /// Waits for further bytes. Cancel safe.
    pub(crate) async fn read_more(&mut self, on_read: impl Fn()) -> Result<(), ReadError> {
        self.make_room()?;
        if self.inner.read_buf(&mut self.buffer).await? == 0 {
            return Err(ReadError::Closed);
        }
        on_read();
        Ok(())
    }

    /// Takes the next packet, if it is complete.
    pub(crate) fn take(&mut self) -> Result<Option<Packet>, ReadError> {
        let is_large = |packet: &Packet| packet.payload.len() > READ_STEP;
        let packet = decode(&mut self.buffer)?;
        if packet.as_ref().is_some_and(is_large) {
            // The buffer would keep all memory of a packet beside which it holds anything, or nothing.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(packet)
    }

    fn make_room(&mut self) -> Result<(), ReadError> {
        let length = announced(&self.buffer)?.unwrap_or(READ_STEP);
        let missing = length.saturating_sub(self.buffer.len());
        self.buffer.reserve(missing.clamp(1, READ_STEP));
        Ok(())
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncWriteExt;

    use super::*;

    const HEADER: PacketHeader = PacketHeader {
        program: 1,
        version: 2,
        procedure: -3,
        kind: 4,
        serial: 5,
        status: 6,
    };

    fn encoded(payload: &[u8]) -> BytesMut {
        let mut out = BytesMut::new();
        assert!(encode(&HEADER, payload, &mut out));
        out
    }

    #[tokio::test]
    async fn packets_split_anywhere_are_joined() {
        let bytes = [encoded(b"one"), encoded(b""), encoded(&[7; 5000])].concat();
        for step in [1, 3, 28, 29, 4096] {
            let (mut peer, stream) = tokio::io::duplex(step);
            let bytes = bytes.clone();
            tokio::spawn(async move { peer.write_all(&bytes).await });
            let mut reader = PacketReader::new(stream);
            for expected in [3, 0, 5000] {
                let packet = reader.next(|| ()).await.unwrap();
                assert_eq!((packet.header, packet.payload.len()), (HEADER, expected));
            }
            assert!(matches!(reader.next(|| ()).await, Err(ReadError::Closed)));
        }
    }

    #[tokio::test]
    async fn hostile_lengths_are_refused_before_anything_is_kept() {
        for word in [0_u32, 1, 27, 33_554_437, u32::MAX] {
            let bytes = word.to_be_bytes();
            let mut reader = PacketReader::new(bytes.as_slice());
            assert!(
                matches!(reader.next(|| ()).await, Err(ReadError::Length(found)) if found == word)
            );
            assert!(reader.buffer.capacity() <= 2 * READ_STEP);
        }
    }

    #[tokio::test]
    async fn the_largest_length_allocates_only_what_arrives() {
        let bytes = 33_554_436_u32.to_be_bytes();
        let mut reader = PacketReader::new(bytes.as_slice());
        assert!(matches!(reader.next(|| ()).await, Err(ReadError::Closed)));
        assert!(reader.buffer.capacity() <= 2 * READ_STEP);
    }

    #[tokio::test]
    async fn the_memory_of_a_large_packet_goes_with_it() {
        let bytes = [encoded(&[7; 4 << 20]), encoded(b"one")].concat();
        let mut reader = PacketReader::new(bytes.as_slice());
        assert_eq!(
            reader.announced(|| ()).await.unwrap(),
            PREFIX_SIZE + (4 << 20)
        );
        assert_eq!(reader.next(|| ()).await.unwrap().payload.len(), 4 << 20);
        assert_eq!(&reader.next(|| ()).await.unwrap().payload[..], b"one");
        assert!(matches!(reader.next(|| ()).await, Err(ReadError::Closed)));
        assert!(reader.buffer.capacity() <= 2 * READ_STEP);
    }

    #[test]
    fn a_payload_past_the_limit_is_not_encoded() {
        assert!(!encode(
            &HEADER,
            &vec![0; PAYLOAD_MAX + 1],
            &mut BytesMut::new()
        ));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut buffer = BytesMut::from(bytes.as_slice());
            let _ = decode(&mut buffer);
        }

        #[test]
        fn what_was_encoded_is_decoded(payload in proptest::collection::vec(any::<u8>(), 0..100)) {
            let packet = decode(&mut encoded(&payload)).unwrap().unwrap();
            prop_assert_eq!(packet.header, HEADER);
            prop_assert_eq!(&packet.payload[..], &payload[..]);
        }
    }
}
