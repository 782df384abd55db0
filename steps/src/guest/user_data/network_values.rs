//! Values that network configurations of both versions have.

use std::net::IpAddr;

use serde_json::Value;

use super::is_filled_later;

const VLAN_MAX: u64 = 4094;

/// Whether a text is an IP address, or becomes one.
pub(super) fn is_address(text: &str) -> bool {
    is_filled_later(text) || text.parse::<IpAddr>().is_ok()
}

/// Whether a text is the hardware address of an Ethernet or InfiniBand card.
pub(super) fn is_hardware_address(text: &str) -> bool {
    let is_pair =
        |pair: &str| pair.len() == 2 && pair.bytes().all(|digit| digit.is_ascii_hexdigit());
    let pairs = text.split(':');
    [6, 20].contains(&pairs.clone().count()) && pairs.clone().all(is_pair)
}

/// Whether a value is the number of a VLAN, or becomes one.
pub(super) fn is_vlan(id: &Value) -> bool {
    let is_number = |number: u64| number <= VLAN_MAX;
    match id {
        Value::Number(number) => number.as_u64().is_some_and(is_number),
        Value::String(text) => is_filled_later(text) || text.parse().is_ok_and(is_number),
        _ => false,
    }
}
