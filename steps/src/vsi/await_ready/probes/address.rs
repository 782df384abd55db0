//! The guest has an address.

use std::net::IpAddr;

use super::Answer;
use crate::vsi::ready_report;

pub(super) fn ask(addresses: &[IpAddr]) -> Answer {
    match addresses.first() {
        Some(address) => Answer::Met(format!("address {address}")),
        None => Answer::NotYet("it has none".to_owned()),
    }
}

/// Addresses as hosts and agents write them.
pub(super) fn parsed(texts: &[String]) -> Vec<IpAddr> {
    let all = texts.iter().filter_map(|text| ready_report::address(text));
    all.collect()
}
