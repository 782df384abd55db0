//! MAC addresses that no other VSI has. They follow from a VSI's UID, but only from a part of it, which
//! documents can choose.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::model::Hash;
use vsiflow_steps::names;

use crate::{cards::cards, record::VsiRecord};

/// The MAC addresses of the VSI's cards that do not follow from their IP addresses.
pub(crate) fn drawn(record: &VsiRecord) -> Vec<String> {
    let cards = cards(record).into_iter();
    let drawn = cards.filter(|card| !record.vsi.addresses.contains_key(&card.network));
    drawn.map(|card| card.mac).collect()
}

/// The MAC addresses of the cards of earlier definitions: its guest may still run with one of these. A card has the
/// one that was recorded, or the one that follows from the VSI's UID.
pub(crate) fn of_earlier(record: &VsiRecord) -> impl Iterator<Item = String> {
    let cards = record.before.iter().map(|inputs| inputs.vsi.networks.len());
    let cards = u8::try_from(cards.max().unwrap_or(0)).unwrap_or(u8::MAX);
    let recorded = record.before.iter().flat_map(|inputs| inputs.macs.clone());
    let derived = (0..cards).map(|card| names::mac(record.uid, card));
    derived.chain(recorded)
}

/// The MAC addresses of the VSI's cards that do not follow from its UID and their positions.
pub(crate) fn recorded(record: &VsiRecord) -> Vec<String> {
    let cards = cards(record);
    let derived: BTreeSet<_> = (0..=u8::MAX)
        .take(cards.len())
        .map(|card| names::mac(record.uid, card))
        .collect();
    let macs = cards.into_iter().map(|card| card.mac);
    macs.filter(|mac| !derived.contains(mac)).collect()
}

/// The MAC addresses to record for the VSI, so that its cards have none of these.
pub(crate) fn avoiding(record: &VsiRecord, taken: &BTreeSet<String>) -> Vec<String> {
    let cards = cards(record);
    if cards.iter().all(|card| !taken.contains(&card.mac)) {
        return record.macs.clone();
    }
    let mut used: BTreeSet<_> = cards.iter().map(|card| card.mac.clone()).collect();
    used.extend(taken.iter().cloned());
    let mut free = candidates(record.uid).filter(|mac| !used.contains(mac));
    let macs = cards.into_iter().map(|card| {
        if taken.contains(&card.mac) {
            free.next().unwrap_or(card.mac)
        } else {
            card.mac
        }
    });
    macs.collect()
}

/// The MAC addresses that a VSI may have: first those of its UID's first bytes, then those of all of it.
fn candidates(uid: Uuid) -> impl Iterator<Item = String> {
    let of_part = (0..=u8::MAX).map(move |card| names::mac(uid, card));
    let of_whole = (0_u32..).map(move |number| {
        let [a, b, c, d, e, f, ..] = Hash::of(format!("{uid}/{number}").as_bytes()).0;
        let first = (a | 2) & !1;
        format!("{first:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    });
    of_part.chain(of_whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORDED: [&str; 2] = ["52:54:00:00:00:01", "52:54:00:00:00:02"];

    /// A VSI with two cards whose MAC addresses were recorded.
    fn record() -> VsiRecord {
        serde_json::from_value(serde_json::json!({
            "uid": "01020304-0506-4708-890a-0b0c0d0e0f10", "contract": "c1", "macs": RECORDED,
            "vsi": {
                "namespace": "default", "name": "a", "host": "sim", "pool": "images",
                "image": {"url": "http://a/b.qcow2", "fileName": "b.qcow2"},
                "bootDisk": {"mode": "copy"},
                "machine": {"arch": "s390x", "cpus": 2, "memoryMib": 4096},
                "networks": ["default", "storage"], "disks": [], "deletionPolicy": "Delete",
            },
        }))
        .unwrap()
    }

    #[test]
    fn the_recorded_mac_address_of_a_removed_card_is_not_free_while_a_guest_may_have_it() {
        let mut record = record();
        let inputs = serde_json::to_value(record.inputs(1, true)).unwrap();
        record.before = vec![serde_json::from_value(inputs).unwrap()];
        record.macs = crate::cards::macs_of(&record, &["default".to_owned()]);
        record.vsi.networks.pop();
        assert!(!drawn(&record).contains(&RECORDED[1].to_owned()));
        let earlier: Vec<_> = of_earlier(&record).collect();
        assert!(earlier.contains(&RECORDED[1].to_owned()), "{earlier:?}");
    }

    #[test]
    fn the_inputs_of_a_vsi_without_recorded_mac_addresses_name_none() {
        let mut record = record();
        record.macs.clear();
        let inputs = serde_json::to_value(record.inputs(1, true)).unwrap();
        assert_eq!(inputs.get("macs"), None);
    }
}
