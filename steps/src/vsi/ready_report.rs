//! The report about a guest that became ready: the end of its console, and its addresses. Both are for
//! people; what cannot be read is left out and never delays a boot.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    hpl,
    ports::{ConsolePosition, DhcpLease, HostPorts, VolumeKey},
};

/// Maximum number of bytes of the console's end that are stored.
const TAIL_MAX: u64 = 16 * 1024;

/// Maximum number of addresses of a guest that are reported and probed. Its agent may report any number.
const ADDRESS_MAX: usize = 8;

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// Its network.
    pub network: String,
    /// Its MAC address.
    pub mac: String,
}

/// The end of the console up to `end`, as text without control characters; it begins with a whole line.
pub(super) async fn console_tail(
    ports: &HostPorts,
    log: &VolumeKey,
    begin: ConsolePosition,
    end: ConsolePosition,
) -> String {
    let from = end
        .offset
        .saturating_sub(TAIL_MAX)
        .max(begin.offset.min(end.offset));
    let room = end.offset.saturating_sub(from);
    let chunk = ports
        .console
        .read(log, ConsolePosition { offset: from }, room)
        .await;
    let bytes = chunk.map(|chunk| chunk.bytes).unwrap_or_default();
    let lines = bytes.split(|byte| *byte == b'\n').map(hpl::plain);
    let text = lines.collect::<Vec<_>>().join("\n");
    match text.split_once('\n') {
        Some((_, whole)) if from > begin.offset => whole.to_owned(),
        _ => text,
    }
}

/// The leases of a network, by the MAC address in lower case.
type Leases = BTreeMap<String, Vec<DhcpLease>>;

/// Looks up addresses of guests on one host; each network's leases are read once.
pub struct Addresses<'a> {
    ports: &'a HostPorts,
    leases: BTreeMap<String, Leases>,
}

impl<'a> Addresses<'a> {
    /// Addresses of guests on this host.
    pub fn on(ports: &'a HostPorts) -> Self {
        Self {
            ports,
            leases: BTreeMap::new(),
        }
    }

    /// The addresses of a running guest, in the order of its cards: its leases, else what its agent or
    /// the host's ARP table reports. What cannot be read is left out.
    pub async fn of(&mut self, uuid: Uuid, cards: &[Card]) -> Vec<String> {
        let mut leases = Vec::new();
        for card in cards {
            let network = self.leases_of(&card.network).await;
            let card_leases = cards.iter().filter_map(|mac| network.get(&lower(mac)));
            leases.extend(card_leases.flatten().cloned());
        }
        let addresses = in_order(&leases, cards);
        if !addresses.is_empty() || cards.is_empty() {
            return addresses;
        }
        let answer = self.ports.domains.addresses(uuid).await;
        in_order(&answer.unwrap_or_default(), cards)
    }

    async fn leases_of(&mut self, network: &str) -> &Leases {
        if !self.leases.contains_key(network) {
            let answer = self.ports.networks.leases(network).await;
            let mut leases = Leases::new();
            for lease in answer.unwrap_or_default() {
                let mac = lease.mac.to_ascii_lowercase();
                leases.entry(mac).or_default().push(lease);
            }
            self.leases.insert(network.to_owned(), leases);
        }
        self.leases.entry(network.to_owned()).or_default()
    }
}

fn lower(card: &Card) -> String {
    card.mac.to_ascii_lowercase()
}

fn in_order(leases: &[DhcpLease], cards: &[Card]) -> Vec<String> {
    let mut addresses = Vec::new();
    for card in cards {
        let card_leases = leases
            .iter()
            .filter(|l| l.mac.eq_ignore_ascii_case(&card.mac));
        for lease in card_leases.filter(|lease| address(&lease.ip).is_some()) {
            if addresses.len() < ADDRESS_MAX && !addresses.contains(&lease.ip) {
                addresses.push(lease.ip.clone());
            }
        }
    }
    addresses
}

/// Parses an address in the form of hosts and agents, if it may be a guest's. The guest reports it: with
/// a loopback, link-local or multicast address the guest would make the host connect to itself or to
/// many.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    let bare = text.split(['/', '%']).next()?;
    let ip = bare.parse::<IpAddr>().ok()?.to_canonical();
    let everywhere = ip.is_loopback() || ip.is_unspecified() || ip.is_multicast();
    let on_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast() || ip.octets()[0] == 0,
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    (!everywhere && !on_link).then_some(ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_guest_with_very_many_addresses_some_are_told() {
        let (mac, network) = ("52:54:00:00:00:01".to_owned(), "default".to_owned());
        let leases = (1..=250_u8).map(|number| DhcpLease {
            mac: mac.clone(),
            ip: format!("10.0.0.{number}"),
            hostname: None,
        });
        let leases: Vec<_> = leases.collect();
        let found = in_order(&leases, &[Card { network, mac }]);
        assert_eq!((found.len(), found[0].as_str()), (ADDRESS_MAX, "10.0.0.1"));
    }

    #[test]
    fn a_guest_cannot_name_its_host_or_everybody_for_its_address() {
        for odd in [
            "127.0.0.1",
            "127.1.2.3/8",
            "::1",
            "0:0:0:0:0:0:0:1",
            "::ffff:127.0.0.1",
            "::ffff:7f00:1",
            "0.0.0.0",
            "0.1.2.3",
            "::",
            "169.254.169.254",
            "::ffff:169.254.169.254",
            "fe80::1%eth0",
            "224.0.0.1",
            "ff02::1",
            "255.255.255.255",
            "localhost",
            "",
        ] {
            assert_eq!(address(odd), None, "{odd}");
        }
        for own in ["192.168.122.7/24", "fd00::7", "::ffff:10.0.0.7"] {
            assert!(address(own).is_some(), "{own}");
        }
    }
}
