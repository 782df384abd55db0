//! MAC addresses that no other VSI has. They follow from a VSI's UID, but only from a part of it, which
//! documents can choose.

use std::collections::BTreeSet;

use uuid::Uuid;
use vsiflow_engine::model::Hash;
use vsiflow_steps::names;

use crate::{record::VsiRecord, vsi_graph};

/// The MAC addresses of the VSI's cards that do not follow from their IP addresses.
pub(crate) fn drawn(record: &VsiRecord) -> Vec<String> {
    let cards = vsi_graph::cards(record).into_iter();
    let drawn = cards.filter(|card| !record.vsi.addresses.contains_key(&card.network));
    drawn.map(|card| card.mac).collect()
}

/// The MAC addresses that follow from the VSI's UID for the cards of earlier definitions: its guest may still run with
/// one of these.
pub(crate) fn of_earlier(record: &VsiRecord) -> impl Iterator<Item = String> {
    let cards = record.before.iter().map(|inputs| inputs.vsi.networks.len());
    let cards = u8::try_from(cards.max().unwrap_or(0)).unwrap_or(u8::MAX);
    (0..cards).map(|card| names::mac(record.uid, card))
}

/// The MAC addresses to record for the VSI, so that its cards have none of these.
pub(crate) fn avoiding(record: &VsiRecord, taken: &BTreeSet<String>) -> Vec<String> {
    let cards = vsi_graph::cards(record);
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
