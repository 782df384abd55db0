//! A fake peer of a connection, controlled by each test.

use bytes::BytesMut;
use serde::Serialize;
use tokio::io::{AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::Connection;
use crate::error::WireError;
use crate::packet::{Packet, PacketHeader, PacketReader, ReadError, encode, kind, status};
use crate::xdr;

/// The peer of a connection.
pub(crate) struct FakePeer {
    read: PacketReader<ReadHalf<DuplexStream>>,
    pub(crate) write: WriteHalf<DuplexStream>,
}

pub(crate) fn pair() -> (Connection, FakePeer) {
    pair_of(1 << 20)
}

/// A connection that libvirt has opened.
pub(crate) fn pair_of(buffer: usize) -> (Connection, FakePeer) {
    let (connection, peer) = unopened_pair(buffer, "host/fake");
    connection.opened();
    (connection, peer)
}

/// A connection of this owner that libvirt has not opened.
pub(crate) fn unopened_pair(buffer: usize, owner: &str) -> (Connection, FakePeer) {
    let (ours, theirs) = tokio::io::duplex(buffer);
    let (read, write) = tokio::io::split(theirs);
    (
        Connection::start(ours, (), &owner.into()),
        FakePeer {
            read: PacketReader::new(read),
            write,
        },
    )
}

impl FakePeer {
    pub(crate) async fn next(&mut self) -> Packet {
        self.read.next(|| ()).await.unwrap()
    }

    /// Whether the connection's side closes without sending anything before.
    pub(crate) async fn ends(&mut self) -> bool {
        matches!(self.read.next(|| ()).await, Err(ReadError::Closed))
    }

    pub(crate) async fn send(&mut self, header: PacketHeader, payload: &[u8]) {
        let mut bytes = BytesMut::new();
        assert!(encode(&header, payload, &mut bytes));
        self.write.write_all(&bytes).await.unwrap();
    }

    pub(crate) async fn reply<T: Serialize>(&mut self, call: &Packet, value: &T) {
        let payload = xdr::to_bytes(value).unwrap();
        self.send(
            PacketHeader {
                kind: kind::REPLY,
                ..call.header
            },
            &payload,
        )
        .await;
    }

    pub(crate) async fn fail(&mut self, call: &Packet, kind: i32, code: i32) {
        let payload = xdr::to_bytes(&wire_error(code)).unwrap();
        self.send(
            PacketHeader {
                kind,
                status: status::ERROR,
                ..call.header
            },
            &payload,
        )
        .await;
    }

    pub(crate) async fn answer_next<T: Serialize>(&mut self, value: T) -> Packet {
        let call = self.next().await;
        self.reply(&call, &value).await;
        call
    }
}

pub(crate) fn wire_error(code: i32) -> WireError {
    WireError {
        code,
        domain: 10,
        message: Some("no".to_owned()),
        level: 2,
        dom: None,
        strings: [None, None, None],
        ints: [0, 0],
        net: None,
    }
}
