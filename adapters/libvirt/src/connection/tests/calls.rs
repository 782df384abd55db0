//! Calls and their replies, in time and late.

use tokio::time::timeout;

use super::*;
use crate::connection::fake_peer::{pair, pair_of};
use crate::packet::kind;
use crate::protocol::REMOTE_PROGRAM;

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
    // Its slot is occupied until libvirt replies.
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
    // The peer reads nothing and its buffer has 64 bytes: the second call stays queued.
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
