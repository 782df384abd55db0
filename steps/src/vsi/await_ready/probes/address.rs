//! The guest has an address.

use std::net::IpAddr;

use super::Answer;

pub(super) fn ask(addresses: &[IpAddr]) -> Answer {
    match addresses.first() {
        Some(address) => Answer::Met(format!("address {address}")),
        None => Answer::NotYet("it has none".to_owned()),
    }
}

/// Addresses as hosts and agents write them.
pub(super) fn parsed(texts: &[String]) -> Vec<IpAddr> {
    let bare = |text: &String| text.split(['/', '%']).next().and_then(|ip| ip.parse().ok());
    texts.iter().filter_map(bare).collect()
}
