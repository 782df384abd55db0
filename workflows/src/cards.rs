//! The network cards of a guest, and their stable MAC addresses.

use std::collections::BTreeSet;

use vsiflow_engine::model::Hash;
use vsiflow_steps::{names, vsi::Card};

use crate::record::VsiRecord;

/// The MAC addresses of the guest's cards; empty if they follow from its UID and their positions.
pub(crate) fn macs(record: &VsiRecord) -> Vec<String> {
    if record.vsi.addresses.is_empty() {
        recorded(record)
    } else {
        cards(record).into_iter().map(|card| card.mac).collect()
    }
}

fn recorded(record: &VsiRecord) -> Vec<String> {
    let came_with = record.adopted.as_ref().map(|adopted| &adopted.macs);
    match came_with.filter(|_| record.macs.is_empty()) {
        Some(macs) => macs.clone(),
        None => record.macs.clone(),
    }
}

/// The MAC address of a card with a fixed address. It is derived from the address: the next VSI with
/// that address is the same client to the network's DHCP, which holds a lease for its time.
fn of_address(record: &VsiRecord, network: &str) -> Option<String> {
    let address = record.vsi.addresses.get(network)?;
    let of = format!("{}\0{network}\0{address}", record.vsi.host);
    let hash = Hash::of(of.as_bytes()).0;
    let bytes = hash.iter().take(6).enumerate();
    // Locally administered, and unicast.
    let bytes = bytes.map(|(place, byte)| match place {
        0 => (byte | 2) & !1,
        _ => *byte,
    });
    let digits: Vec<_> = bytes.map(|byte| format!("{byte:02x}")).collect();
    Some(digits.join(":"))
}

/// The guest's cards, with the MAC addresses in its definition.
pub(crate) fn cards(record: &VsiRecord) -> Vec<Card> {
    let macs = recorded(record);
    let networks = record.vsi.networks.iter().enumerate();
    let card = |(place, network): (usize, &String)| Card {
        network: network.clone(),
        mac: of_address(record, network)
            .or_else(|| macs.get(place).cloned())
            .unwrap_or_else(|| names::mac(record.uid, number(place))),
    };
    networks.map(card).collect()
}

/// The MAC addresses of its cards once the VSI is on these networks: a remaining card keeps its own, a
/// new one gets the first free one. Empty if they follow from UID and positions.
pub(crate) fn macs_of(record: &VsiRecord, networks: &[String]) -> Vec<String> {
    let mut had = cards(record);
    let mut kept = |network: &String| {
        let at = had.iter().position(|card| card.network == *network)?;
        Some(had.remove(at).mac)
    };
    let kept: Vec<_> = networks.iter().map(&mut kept).collect();
    let mut used: BTreeSet<String> = kept.iter().flatten().cloned().collect();
    let mut free = || {
        let mut all = (0..=u8::MAX).map(|card| names::mac(record.uid, card));
        let mac = all.find(|mac| !used.contains(mac)).unwrap_or_default();
        used.insert(mac.clone());
        mac
    };
    let macs: Vec<_> = kept
        .into_iter()
        .map(|mac| mac.unwrap_or_else(&mut free))
        .collect();
    let follows = |(place, mac): (usize, &String)| *mac == names::mac(record.uid, number(place));
    if record.adopted.is_none() && macs.iter().enumerate().all(follows) {
        Vec::new()
    } else {
        macs
    }
}

fn number(place: usize) -> u8 {
    u8::try_from(place).unwrap_or(u8::MAX)
}
