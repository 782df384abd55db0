//! How a connection ends, and what that does to what is under way.

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

use super::*;
use crate::connection::fake_peer::pair;
use crate::events::EventReceived;
use crate::packet::{Header, kind};
use crate::protocol::{REMOTE_PROGRAM, VERSION};

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

#[tokio::test]
async fn a_dead_peer_ends_every_call_and_stream() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND * 60);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    let (stream, _) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    let mut events = connection.receive_events();
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

#[tokio::test]
async fn hostile_packets_end_the_connection() {
    let good = Header {
        program: REMOTE_PROGRAM,
        version: VERSION,
        procedure: 1,
        kind: kind::REPLY,
        serial: 1,
        status: 0,
    };
    let hostile = [
        Header { program: 1, ..good },
        Header { version: 2, ..good },
        Header { kind: 77, ..good },
        Header {
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
        let header = Header {
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
