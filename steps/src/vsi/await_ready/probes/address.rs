//! The probe for any address of the guest.

use std::net::IpAddr;

use super::ProbeAnswer;
use crate::vsi::ready_report;

pub(super) fn ask(addresses: &[IpAddr]) -> ProbeAnswer {
    match addresses.first() {
        Some(address) => ProbeAnswer::Met(format!("address {address}")),
        None => ProbeAnswer::NotYet("it has none".to_owned()),
    }
}

/// Parses addresses in the forms of hosts and agents.
pub(super) fn parsed(texts: &[String]) -> Vec<IpAddr> {
    let addresses = texts.iter().filter_map(|text| ready_report::address(text));
    addresses.collect()
}
