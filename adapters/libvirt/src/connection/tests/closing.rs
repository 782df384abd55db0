//! How a connection ends, and how that affects calls and streams in progress.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::*;
use crate::connection::fake_peer::{FakePeer, pair};
use crate::events::{DomainEvents, EventReceived};
use crate::packet::{Packet, PacketHeader, kind, status};
use crate::protocol::{REMOTE_PROGRAM, VERSION};
use crate::stream::UploadStream;

#[tokio::test(start_paused = true)]
async fn the_last_handle_gone_the_task_still_awaits_what_it_wrote() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND * 60);
    drop(connection);
    assert!(
        timeout(SECOND, calls.domain_lookup_by_name("a"))
            .await
            .is_err()
    );
    drop(calls);
    let call = peer.next().await;
    assert!(
        timeout(SECOND * 30, peer.next()).await.is_err(),
        "closed before the reply"
    );
    peer.reply(&call, &domain("a")).await;
    assert_eq!(
        peer.next().await.header.procedure,
        Procedure::ConnectClose.number()
    );
}

#[tokio::test]
async fn closing_ends_calls_that_wait_but_not_those_that_run() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let closing = async {
        let call = peer.next().await;
        let closer = connection.clone();
        let closer = tokio::spawn(async move { closer.close().await });
        until(|| !connection.is_open()).await;
        peer.reply(&call, &domain("a")).await;
        peer.answer_next(()).await;
        closer.await.unwrap();
    };
    let (found, ()) = tokio::join!(calls.domain_lookup_by_name("a"), closing);
    assert!(found.is_ok());
    assert_eq!(connection.closed().await, CloseReason::ByUs);
    let late = calls.domain_lookup_by_name("b").await;
    assert!(matches!(
        late,
        Err(Error::NotSent {
            cause: Cause::Closed(_),
            ..
        })
    ));
}

const CLOSE: i32 = Procedure::ConnectClose.number();

/// Opens an upload and returns its call as the peer received it.
async fn upload(connection: &Connection, peer: &mut FakePeer) -> (UploadStream, Packet) {
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    (stream.unwrap(), call)
}

#[tokio::test(start_paused = true)]
async fn libvirt_is_told_of_the_end_only_when_it_has_no_stream_any_more() {
    let (connection, mut peer) = pair();
    let (stream, call) = upload(&connection, &mut peer).await;
    drop((stream, connection));
    let abort = peer.next().await;
    assert_eq!(
        (abort.header.serial, abort.header.status),
        (call.header.serial, status::ERROR)
    );
    assert!(timeout(SECOND * 30, peer.next()).await.is_err(), "closed");
    let confirmed = PacketHeader {
        status: status::OK,
        ..abort.header
    };
    peer.send(confirmed, b"").await;
    assert_eq!(peer.answer_next(()).await.header.procedure, CLOSE);
    assert!(peer.ends().await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_whose_end_nobody_confirms_is_left_without_a_word() {
    let (connection, mut peer) = pair();
    let (stream, _) = upload(&connection, &mut peer).await;
    drop((stream, connection));
    assert_eq!(peer.next().await.header.status, status::ERROR);
    assert!(peer.ends().await);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_opens_when_its_caller_is_gone_is_aborted_before_the_end() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    assert!(timeout(SECOND / 2, opening).await.is_err());
    drop((calls, connection));
    let call = peer.answer_next(()).await;
    let abort = peer.next().await;
    assert_eq!(
        (abort.header.serial, abort.header.status),
        (call.header.serial, status::ERROR)
    );
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_was_aborted_is_not_aborted_again() {
    let (connection, mut peer) = pair();
    let (stream, _) = upload(&connection, &mut peer).await;
    let aborted = timeout(SECOND / 2, stream.abort()).await;
    assert!(aborted.is_err(), "not confirmed");
    drop(connection);
    let abort = peer.next().await;
    let confirmed = PacketHeader {
        status: status::OK,
        ..abort.header
    };
    peer.send(confirmed, b"").await;
    assert_eq!(peer.next().await.header.procedure, CLOSE);
}

#[tokio::test]
async fn a_dead_peer_ends_every_call_and_stream() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND * 60);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    let (stream, _) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    let mut events = DomainEvents::of(&connection);
    let dying = async {
        peer.next().await;
        drop(peer);
    };
    let (found, ()) = tokio::join!(calls.domain_lookup_by_name("a"), dying);
    let gone = Cause::Closed(CloseReason::ByPeer);
    assert!(
        matches!(
            found,
            Err(Error::OutcomeUnknown {
                cause: Cause::Closed(_),
                ..
            })
        ),
        "{gone}"
    );
    assert!(
        stream
            .send(Bytes::from_static(b"x"))
            .await
            .unwrap_err()
            .is_outcome_unknown()
    );
    assert_eq!(
        events.next().await,
        EventReceived::Ended(connection.closed().await)
    );
    assert!(matches!(
        calls.domain_lookup_by_name("a").await,
        Err(Error::NotSent { .. })
    ));
}

/// A byte stream that panics when it is read.
struct Panicking(tokio::io::DuplexStream);

impl tokio::io::AsyncRead for Panicking {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        panic!("the test asked for it")
    }
}

impl tokio::io::AsyncWrite for Panicking {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Regression test: the connection stayed open forever, so the host seemed unreachable.
#[tokio::test(start_paused = true)]
async fn a_panic_while_reading_ends_the_connection_and_its_calls() {
    let (stream, _peer) = tokio::io::duplex(1024);
    let connection = Connection::start(Panicking(stream), (), &"host/fake".into());
    let calls = connection.within(SECOND * 60);
    let answer = timeout(SECOND, calls.domain_lookup_by_name("a")).await;
    assert!(matches!(answer, Ok(Err(_))), "{answer:?}");
    let reason = timeout(SECOND, connection.closed()).await;
    assert!(matches!(reason, Ok(CloseReason::Io(_))), "{reason:?}");
    assert!(!connection.is_open());
}

#[tokio::test]
async fn hostile_packets_end_the_connection() {
    let good = PacketHeader {
        program: REMOTE_PROGRAM,
        version: VERSION,
        procedure: 1,
        kind: kind::REPLY,
        serial: 1,
        status: 0,
    };
    let hostile = [
        PacketHeader { program: 1, ..good },
        PacketHeader { version: 2, ..good },
        PacketHeader { kind: 77, ..good },
        PacketHeader {
            kind: kind::CALL,
            ..good
        },
    ];
    for header in hostile {
        let (connection, mut peer) = pair();
        peer.send(header, b"").await;
        assert!(matches!(
            connection.closed().await,
            CloseReason::Protocol(_)
        ));
    }
    let (connection, mut peer) = pair();
    peer.write.write_all(&[0xff; 64]).await.unwrap();
    assert!(matches!(
        connection.closed().await,
        CloseReason::Protocol(_)
    ));
}

#[tokio::test]
async fn replies_and_stream_packets_nobody_asked_for_are_passed_over() {
    let (connection, mut peer) = pair();
    for kind in [kind::REPLY, kind::STREAM, kind::MESSAGE] {
        let header = PacketHeader {
            program: REMOTE_PROGRAM,
            version: VERSION,
            procedure: 318,
            kind,
            serial: 99,
            status: 0,
        };
        peer.send(header, b"junk").await;
    }
    let calls = connection.within(SECOND);
    let (found, _) = tokio::join!(
        calls.domain_lookup_by_name("a"),
        peer.answer_next(domain("a"))
    );
    assert!(found.is_ok());
}
