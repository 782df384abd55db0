//! A connection against a peer that does as each test wants.

use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout};

use super::fake_peer::{pair, pair_of};
use super::*;
use crate::events::EventReceived;
use crate::packet::{Header, kind, status};
use crate::protocol::{
    Domain, KEEPALIVE_PING, KEEPALIVE_PONG, KEEPALIVE_PROGRAM, REMOTE_PROGRAM, StorageVol, Uuid,
    VERSION,
};

const SECOND: Duration = Duration::from_secs(1);

fn domain(name: &str) -> Domain {
    Domain {
        name: name.to_owned(),
        uuid: Uuid(uuid::Uuid::from_u128(7)),
        id: -1,
    }
}

fn volume() -> &'static StorageVol {
    static VOLUME: LazyLock<StorageVol> = LazyLock::new(|| StorageVol {
        pool: "images".to_owned(),
        name: "v".to_owned(),
        key: "/v".to_owned(),
    });
    &VOLUME
}

/// Waits until a condition holds; time is virtual in these tests.
async fn until(condition: impl Fn() -> bool) {
    while !condition() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_call_gets_its_reply() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let (found, call) = tokio::join!(
        calls.domain_lookup_by_name("a"),
        peer.answer_next(domain("a"))
    );
    assert_eq!(found.unwrap(), domain("a"));
    assert_eq!(call.header.procedure, 23);
    assert_eq!(
        (call.header.program, call.header.kind),
        (REMOTE_PROGRAM, kind::CALL)
    );
    assert_eq!(&call.payload[..], b"\0\0\0\x01a\0\0\0");
}

#[tokio::test]
async fn replies_in_any_order_find_their_calls() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let answering = async {
        let (first, second) = (peer.next().await, peer.next().await);
        peer.reply(&second, &domain("second")).await;
        peer.reply(&first, &domain("first")).await;
    };
    let (first, second, ()) = tokio::join!(
        calls.domain_lookup_by_name("first"),
        calls.domain_lookup_by_name("second"),
        answering
    );
    assert_eq!(first.unwrap().name, "first");
    assert_eq!(second.unwrap().name, "second");
}

#[tokio::test]
async fn an_error_reply_is_typed() {
    let (connection, mut peer) = pair();
    for (code, absent) in [
        (42, true),
        (49, true),
        (50, true),
        (43, true),
        (38, false),
        (55, false),
    ] {
        let calls = connection.within(SECOND);
        let failing = async {
            let call = peer.next().await;
            peer.fail(&call, kind::REPLY, code).await;
        };
        let (found, ()) = tokio::join!(calls.domain_lookup_by_name("a"), failing);
        let error = found.unwrap_err();
        assert_eq!((error.code(), error.is_absent()), (Some(code), absent));
        assert!(!error.is_outcome_unknown());
    }
}

#[tokio::test]
async fn a_malformed_reply_is_told_from_a_failed_call() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let (found, _) = tokio::join!(calls.domain_lookup_by_name("a"), peer.answer_next(7_u32));
    assert!(matches!(found, Err(Error::BadReply { .. })));
    assert!(connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_call_without_reply_ends_with_an_unknown_outcome() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let error = calls.domain_lookup_by_name("a").await.unwrap_err();
    assert!(matches!(
        error,
        Error::OutcomeUnknown {
            cause: Cause::TimedOut(SECOND),
            ..
        }
    ));
    // Its place is taken until libvirt replies.
    assert_eq!(connection.free_places(), PLACES - 1);
    peer.answer_next(domain("a")).await;
    until(|| connection.free_places() == PLACES).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_finds_no_place_is_not_sent() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let five = futures::future::join_all((0..5).map(|_| calls.domain_lookup_by_name("a"))).await;
    let not_sent = five
        .iter()
        .filter(|found| matches!(found, Err(Error::NotSent { .. })));
    assert_eq!(not_sent.count(), 1);
    assert!(connection.is_stuck());
    for _ in 0..PLACES {
        peer.answer_next(domain("a")).await;
    }
    until(|| !connection.is_stuck()).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_be_written_is_not_sent() {
    // The peer reads nothing and its buffer takes 64 bytes: the second call stays queued.
    let (connection, _peer) = pair_of(64);
    let calls = connection.within(SECOND);
    let long = "x".repeat(100);
    let (first, second) = tokio::join!(
        calls.domain_lookup_by_name(&long),
        calls.domain_lookup_by_name("b")
    );
    assert!(matches!(first, Err(Error::OutcomeUnknown { .. })));
    assert!(matches!(second, Err(Error::NotSent { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_caller_leaves_the_call_to_the_task() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND * 60);
    assert!(
        timeout(SECOND, calls.domain_lookup_by_name("a"))
            .await
            .is_err()
    );
    let call = peer.next().await;
    assert_eq!(connection.free_places(), PLACES - 1);
    peer.reply(&call, &domain("a")).await;
    until(|| connection.free_places() == PLACES).await;
    assert!(connection.is_open());
}

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

fn keep_alive_packet(procedure: i32) -> Header {
    Header {
        program: KEEPALIVE_PROGRAM,
        version: VERSION,
        procedure,
        kind: kind::MESSAGE,
        serial: 0,
        status: 0,
    }
}

#[tokio::test]
async fn pings_are_answered() {
    let (_connection, mut peer) = pair();
    peer.send(keep_alive_packet(KEEPALIVE_PING), b"").await;
    assert_eq!(peer.next().await.header, keep_alive_packet(KEEPALIVE_PONG));
}

#[tokio::test(start_paused = true)]
async fn silence_is_pinged_and_then_death() {
    let (connection, mut peer) = pair();
    connection.keep_alive(KeepAlive {
        interval: SECOND,
        pings: 3,
    });
    for _ in 0..5 {
        assert_eq!(peer.next().await.header, keep_alive_packet(KEEPALIVE_PING));
        peer.send(keep_alive_packet(KEEPALIVE_PONG), b"").await;
    }
    let start = Instant::now();
    assert!(matches!(connection.closed().await, CloseReason::Silent(_)));
    assert!(start.elapsed() <= SECOND * 5, "{:?}", start.elapsed());
}

#[tokio::test]
async fn an_upload_is_cut_into_packets_and_confirmed() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    let receiving = async {
        let mut lengths = Vec::new();
        loop {
            let packet = peer.next().await;
            assert_eq!(packet.header.serial, call.header.serial);
            assert_eq!(packet.header.kind, kind::STREAM);
            if packet.header.status == status::OK {
                peer.send(packet.header, b"").await;
                return lengths;
            }
            lengths.push(packet.payload.len());
        }
    };
    let sending = async {
        stream.send(Bytes::from(vec![1; 600_000])).await.unwrap();
        assert_eq!(stream.sent(), 600_000);
        stream.finish().await
    };
    let (finished, lengths) = tokio::join!(sending, receiving);
    finished.unwrap();
    assert_eq!(lengths, [262_120, 262_120, 75_760]);
}

#[tokio::test]
async fn an_error_in_the_middle_of_an_upload_is_libvirts_own() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND * 60);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    peer.fail(&call, kind::STREAM, 38).await;
    let error = loop {
        if let Err(error) = stream.send(Bytes::from(vec![0; 1 << 20])).await {
            break error;
        }
    };
    assert_eq!(error.code(), Some(38));
    assert!(connection.is_open());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_nobody_takes_stalls() {
    let (connection, mut peer) = pair_of(1 << 16);
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_upload(volume(), 0, 0, 0, SECOND);
    let (stream, _) = tokio::join!(opening, peer.answer_next(()));
    let sent = stream.unwrap().send(Bytes::from(vec![0; 16 << 20])).await;
    assert!(matches!(
        sent,
        Err(Error::OutcomeUnknown {
            cause: Cause::TimedOut(_),
            ..
        })
    ));
}

#[tokio::test]
async fn a_dropped_stream_is_aborted() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_download(volume(), 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    drop(stream.unwrap());
    let packet = peer.next().await;
    assert_eq!(
        (packet.header.kind, packet.header.status),
        (kind::STREAM, status::ERROR)
    );
    assert_eq!(packet.header.serial, call.header.serial);
}

#[tokio::test]
async fn a_download_ends_with_the_confirmed_finish() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_download(volume(), 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let mut stream = stream.unwrap();
    let data = Header {
        kind: kind::STREAM,
        status: status::CONTINUE,
        ..call.header
    };
    let serving = async {
        for piece in [&b"one"[..], b"two", b""] {
            peer.send(data, piece).await;
        }
        let finish = peer.next().await;
        assert_eq!(finish.header.status, status::OK);
        peer.send(finish.header, b"").await;
    };
    let taking = async {
        let mut taken = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            taken.extend_from_slice(&piece);
        }
        taken
    };
    let (taken, ()) = tokio::join!(taking, serving);
    assert_eq!(taken, b"onetwo");
}

#[tokio::test(start_paused = true)]
async fn a_slow_taker_holds_libvirt_up_but_is_not_silence() {
    let (connection, mut peer) = pair_of(1 << 12);
    let calls = connection.within(SECOND);
    let opening = calls.storage_vol_download(volume(), 0, 0, SECOND);
    let (stream, call) = tokio::join!(opening, peer.answer_next(()));
    let _stream = stream.unwrap();
    connection.keep_alive(KeepAlive {
        interval: SECOND,
        pings: 2,
    });
    let data = Header {
        kind: kind::STREAM,
        status: status::CONTINUE,
        ..call.header
    };
    let flood = async { while timeout(SECOND, peer.send(data, &[0; 4000])).await.is_ok() {} };
    flood.await;
    tokio::time::sleep(SECOND * 60).await;
    assert!(connection.is_open());
}

#[tokio::test]
async fn events_reach_their_subscription_only() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let (events, call) = tokio::join!(calls.domain_events(), peer.answer_next(5_i32));
    let mut events = events.unwrap();
    assert_eq!(call.header.procedure, 316);
    for (callback, name) in [(4, "other"), (5, "ours")] {
        let header = Header {
            procedure: 318,
            kind: kind::MESSAGE,
            serial: 0,
            ..call.header
        };
        let payload = xdr::to_bytes(&(callback, domain(name), 2, 0)).unwrap();
        peer.send(header, &payload).await;
    }
    match events.next().await {
        EventReceived::Event(event) => {
            assert_eq!((event.domain.name.as_str(), event.event), ("ours", 2))
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_receiver_that_falls_behind_is_told() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let (events, call) = tokio::join!(calls.domain_events(), peer.answer_next(5_i32));
    let mut events = events.unwrap();
    let header = Header {
        procedure: 318,
        kind: kind::MESSAGE,
        serial: 0,
        ..call.header
    };
    let payload = xdr::to_bytes(&(5, domain("a"), 2, 0)).unwrap();
    for _ in 0..400 {
        peer.send(header, &payload).await;
    }
    let (found, _) = tokio::join!(
        calls.domain_lookup_by_name("a"),
        peer.answer_next(domain("a"))
    );
    found.unwrap();
    assert!(matches!(events.next().await, EventReceived::Missed(missed) if missed >= 100));
}
