//! Keep-alive with a silent peer.

use tokio::time::Instant;

use super::*;
use crate::connection::fake_peer::pair;
use crate::packet::{PacketHeader, kind};
use crate::protocol::{KEEPALIVE_PING, KEEPALIVE_PONG, KEEPALIVE_PROGRAM, VERSION};

fn keep_alive_packet(procedure: i32) -> PacketHeader {
    PacketHeader {
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
