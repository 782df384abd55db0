//! What is told of a guest that became ready: the end of its console, and its addresses. Both are
//! for people; what cannot be had is left out and never holds a boot up.

use serde::{Deserialize, Serialize};

use crate::{
    hpl,
    ports::{ConsolePosition, HostPorts, VolumeKey},
};

/// How much of the console's end is kept, in bytes.
const TAIL: u64 = 16 * 1024;

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its network.
    pub network: String,
    /// Its MAC address.
    pub mac: String,
}

/// The end of the console up to `end`, as text without control characters; it begins with a whole
/// line.
pub(super) async fn console_tail(
    ports: &HostPorts,
    log: &VolumeKey,
    begin: ConsolePosition,
    end: ConsolePosition,
) -> String {
    let from = end
        .offset
        .saturating_sub(TAIL)
        .max(begin.offset.min(end.offset));
    let room = end.offset.saturating_sub(from);
    let read = ports
        .console
        .read(log, ConsolePosition { offset: from }, room)
        .await;
    let bytes = read.map(|chunk| chunk.bytes).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').map(hpl::plain);
    let text = lines.collect::<Vec<_>>().join("\n");
    match text.split_once('\n') {
        Some((_, whole)) if from > begin.offset => whole.to_owned(),
        _ => text,
    }
}

/// The addresses that the networks gave to the cards, in the order of the cards.
pub(super) async fn addresses(ports: &HostPorts, cards: &[Card]) -> Vec<String> {
    let mut found = Vec::new();
    for card in cards {
        let leases = ports
            .networks
            .leases(&card.network)
            .await
            .unwrap_or_default();
        let own = leases
            .into_iter()
            .filter(|lease| lease.mac.eq_ignore_ascii_case(&card.mac));
        found.extend(own.map(|lease| lease.ip));
    }
    found
}
