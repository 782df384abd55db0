//! What packets may take before libvirt has opened the connection, and large ones afterwards.

use tokio::io::AsyncWriteExt as _;
use tokio::time::{Instant, sleep};

use super::*;
use crate::connection::fake_peer::{FakePeer, unopened_pair};
use crate::packet::PREFIX_SIZE;

/// The length field of the largest packet.
const LARGEST: u32 = 33_554_436;

/// A connection that libvirt has opened, to a host of this owner.
fn pair_of_owner(owner: &str) -> (Connection, FakePeer) {
    let (connection, peer) = unopened_pair(1 << 20, owner);
    connection.opened();
    (connection, peer)
}

async fn announce(peer: &mut FakePeer) {
    peer.write.write_all(&LARGEST.to_be_bytes()).await.unwrap();
}

fn reserved(owner: &str) -> usize {
    PacketBudget::of_process().share(&owner.into()).reserved()
}

#[tokio::test]
async fn a_packet_has_64_kib_at_most_until_libvirt_has_opened_the_connection() {
    for (payload, is_refused) in [
        (60 << 10, false),
        (64 << 10, true),
        ((32 << 20) - 100, true),
    ] {
        let (connection, mut peer) = unopened_pair(1 << 20, "host/unopened");
        let length = u32::try_from(PREFIX_SIZE + payload).unwrap();
        peer.write.write_all(&length.to_be_bytes()).await.unwrap();
        let closed = tokio::time::timeout(SECOND, connection.closed()).await;
        assert_eq!(closed.is_ok(), is_refused, "{payload}: {closed:?}");
        if let Ok(reason) = closed {
            let reason = reason.to_string();
            assert!(reason.contains("before the connection is open"), "{reason}");
        }
        assert_eq!(reserved("host/unopened"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn connections_of_one_owner_that_stall_share_its_memory_and_another_owner_has_its_own() {
    let mut stalling = Vec::new();
    for _ in 0..14 {
        let (connection, mut peer) = pair_of_owner("namespace/stalls");
        announce(&mut peer).await;
        stalling.push((connection, peer));
    }
    until(|| reserved("namespace/stalls") > 0).await;
    let (other, mut peer) = pair_of_owner("namespace/other");
    let many: Vec<_> = (0..40_000).map(|n| domain(&format!("{n}"))).collect();
    let calls = other.within(SECOND * 5);
    let begun = Instant::now();
    let (listed, _) = tokio::join!(
        calls.connect_list_all_domains(0),
        peer.answer_next((many.clone(), 40_000_u32))
    );
    assert_eq!(listed.unwrap().len(), many.len());
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    assert!(reserved("namespace/stalls") <= 32 << 20);
    until(|| reserved("namespace/other") == 0).await;
    let mut reasons = Vec::new();
    for (connection, _peer) in &stalling {
        reasons.push(connection.closed().await.to_string());
    }
    let with = |part: &str| {
        reasons
            .iter()
            .filter(|reason| reason.contains(part))
            .count()
    };
    let stalled = with("a packet of 33554436 bytes; none of it came for 10s");
    let late = with("not all of it came within 60s");
    let without = with("there was no memory for it within 60s");
    assert!(stalled >= 5, "{reasons:?}");
    assert_eq!(stalled + late + without, 14, "{reasons:?}");
    assert_eq!(reserved("namespace/stalls"), 0);
    assert!(begun.elapsed() <= SECOND * 72, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_trickles_ends_the_connection_after_a_minute() {
    let (connection, mut peer) = pair_of_owner("host/trickles");
    connection.keep_alive(KeepAlive::BULK);
    let begun = Instant::now();
    let trickle = async {
        announce(&mut peer).await;
        while peer.write.write_all(&[0; 100]).await.is_ok() {
            sleep(SECOND * 9).await;
        }
    };
    let (reason, ()) = tokio::join!(connection.closed(), trickle);
    let reason = reason.to_string();
    assert!(reason.contains("not all of it came within 60s"), "{reason}");
    assert!(begun.elapsed() < SECOND * 75, "{:?}", begun.elapsed());
    assert_eq!(reserved("host/trickles"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_waits_for_memory_is_not_silent() {
    let share = PacketBudget::of_process().share(&"host/waits".into());
    let held = share.reserve(LARGEST as usize).await;
    let (connection, mut peer) = pair_of_owner("host/waits");
    connection.keep_alive(KeepAlive::CONTROL);
    let many: Vec<_> = (0..40_000).map(|n| domain(&format!("{n}"))).collect();
    let calls = connection.within(SECOND * 100);
    let serve = async {
        let call = peer.next().await;
        peer.reply(&call, &(many.clone(), 40_000_u32)).await;
        // Beside the ping that it gets meanwhile, it says nothing.
    };
    let release = async {
        sleep(SECOND * 50).await;
        drop(held);
    };
    let (listed, (), ()) = tokio::join!(calls.connect_list_all_domains(0), serve, release);
    assert_eq!(listed.unwrap().len(), many.len());
}
