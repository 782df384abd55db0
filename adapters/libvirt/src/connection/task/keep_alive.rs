//! Keep-alive: the part of a connection's task that pings libvirt.

use std::sync::atomic::Ordering;

use tokio::time::sleep;

use crate::connection::shared::ConnectionShared;
use crate::error::CloseReason;

/// Waits until keep-alive is enabled, pings a silent peer, and returns when it stays silent.
pub(super) async fn keep_alive(shared: &ConnectionShared) -> CloseReason {
    let limits = loop {
        shared.watched.notified().await;
        if let Some(limits) = shared.table().keep_alive {
            break limits;
        }
    };
    let mut received = shared.received.load(Ordering::Relaxed);
    let mut silent = 0_u32;
    loop {
        sleep(limits.interval).await;
        let packets = shared.received.load(Ordering::Relaxed);
        silent = if packets != received || shared.held_up.load(Ordering::Relaxed) {
            0
        } else {
            silent.saturating_add(1)
        };
        received = packets;
        if silent > limits.pings {
            return CloseReason::Silent(limits.interval.saturating_mul(silent));
        }
        // While stalled nothing is read, but libvirt must still receive packets from this side.
        if silent > 0 || shared.held_up.load(Ordering::Relaxed) {
            shared.table().urgent.ping = true;
            shared.wake.notify_one();
        }
    }
}
