//! Events and their receivers.

use super::*;
use crate::connection::fake_peer::pair;
use crate::events::EventReceived;
use crate::packet::{PacketHeader, kind};

/// The header of an event from a peer that received this call.
fn event_header(answered: PacketHeader) -> PacketHeader {
    PacketHeader {
        procedure: 318,
        kind: kind::MESSAGE,
        serial: 0,
        ..answered
    }
}

#[tokio::test]
async fn events_reach_their_subscription_only() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let (events, call) = tokio::join!(calls.domain_events(), peer.answer_next(5_i32));
    let mut events = events.unwrap();
    assert_eq!(call.header.procedure, 316);
    for (callback, name) in [(4, "other"), (5, "ours")] {
        let header = event_header(call.header);
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
async fn whoever_subscribes_again_needs_no_second_registration() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let (events, call) = tokio::join!(calls.domain_events(), peer.answer_next(5_i32));
    drop(events.unwrap());
    // The second subscription sends no call.
    let mut received = calls.domain_events().await.unwrap();
    let header = event_header(call.header);
    let payload = xdr::to_bytes(&(5, domain("a"), 2, 0)).unwrap();
    peer.send(header, &payload).await;
    assert!(matches!(received.next().await, EventReceived::Event(_)));
}

#[tokio::test]
async fn a_receiver_that_falls_behind_is_told() {
    let (connection, mut peer) = pair();
    let calls = connection.within(SECOND);
    let (events, call) = tokio::join!(calls.domain_events(), peer.answer_next(5_i32));
    let mut events = events.unwrap();
    let header = event_header(call.header);
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
