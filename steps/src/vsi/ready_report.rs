//! What is told of a guest that became ready: the end of its console, and its addresses. Both are
//! for people; what cannot be had is left out and never holds a boot up.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    hpl,
    ports::{ConsolePosition, DhcpLease, HostPorts, VolumeKey},
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

/// Looks up addresses of guests on one host; each network's leases are read once.
pub struct Addresses<'a> {
    ports: &'a HostPorts,
    leases: BTreeMap<String, Vec<DhcpLease>>,
}

impl<'a> Addresses<'a> {
    /// Of guests on this host.
    pub fn on(ports: &'a HostPorts) -> Self {
        Self {
            ports,
            leases: BTreeMap::new(),
        }
    }

    /// The addresses of a running guest, in the order of its cards: those that the networks gave
    /// away, else what its agent or the host's ARP table tells. What cannot be had is left out.
    pub async fn of(&mut self, uuid: Uuid, cards: &[Card]) -> Vec<String> {
        let mut leases = Vec::new();
        for card in cards {
            leases.extend(self.leases_of(&card.network).await);
        }
        let given = in_order(&leases, cards);
        if !given.is_empty() || cards.is_empty() {
            return given;
        }
        let told = self.ports.domains.addresses(uuid).await;
        in_order(&told.unwrap_or_default(), cards)
    }

    async fn leases_of(&mut self, network: &str) -> Vec<DhcpLease> {
        if let Some(leases) = self.leases.get(network) {
            return leases.clone();
        }
        let leases = self.ports.networks.leases(network).await;
        let leases = leases.unwrap_or_default();
        self.leases.insert(network.to_owned(), leases.clone());
        leases
    }
}

fn in_order(leases: &[DhcpLease], cards: &[Card]) -> Vec<String> {
    let mut found = Vec::new();
    for card in cards {
        let own = leases
            .iter()
            .filter(|l| l.mac.eq_ignore_ascii_case(&card.mac));
        for lease in own.filter(|lease| is_reachable(&lease.ip)) {
            if !found.contains(&lease.ip) {
                found.push(lease.ip.clone());
            }
        }
    }
    found
}

/// Addresses that lead to the guest from nowhere but its own link or itself are no help.
fn is_reachable(ip: &str) -> bool {
    !ip.starts_with("fe80:") && !ip.starts_with("127.") && ip != "::1"
}
